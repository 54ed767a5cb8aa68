"""Natural Questions with their passages as chats: DIR/{train,validation,test}.jsonl.

    python nq.py data/nq               # from the hub: mrqa-workshop/mrqa, its NaturalQuestionsShort
    python nq.py data/nq --examples 8  # of made-up rows, to try a recipe offline

arXiv 2502.08130 uses NQ for reading comprehension; the version, its size and the prompt were not
found. MRQA's has the passage, the question and all accepted short answers. 10,000 rows are drawn by
seed from its training part to train on, 500 to validate on, and 2,000 of its validation part to
test on. The prompt is ours.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

PROMPT = (
    "Read the passage and answer the question with words of the passage, as short as possible.\n\n"
    "Passage: {context}\n\nQuestion: {question}?"
)
TRAIN, VALIDATION, TEST, SEED = 10_000, 500, 2000, 42
HUB = "mrqa-workshop/mrqa"
REVISION = "f3178d9888471dfb2b67c93de14f0ddf499a8d9f"


def made_up(number: int) -> dict[str, Any]:
    """A row with the columns of mrqa-workshop/mrqa that are read; no two are the same."""
    builders = " and ".join(f"builder {n}" for n in range(1, number + 2))
    return {
        "subset": "NaturalQuestionsShort",
        "context": f"The bridge was built by {builders} in {1850 + number} , of iron .",
        "qid": f"made-up-{number}",
        "question": "who built the bridge",
        "answers": [builders, f"by {builders}"],
    }


def chat(row: Mapping[str, Any]) -> dict[str, Any]:
    """One row (``context``, ``question``, ``answers``) as a chat; the first answer is the gold."""
    question = row["question"].rstrip(" ?")
    prompt = PROMPT.format(context=row["context"].strip(), question=question)
    turns = (("user", prompt), ("assistant", row["answers"][0]))
    messages = [{"role": role, "content": content} for role, content in turns]
    return {"messages": messages, "short_answer": row["answers"][0], "answers": row["answers"]}


def rows() -> dict[str, Iterable[Mapping[str, Any]]]:
    """Rows of each part drawn by seed, from the hub."""
    import datasets

    found: Any = datasets.load_dataset(HUB, revision=REVISION)
    short = found.filter(lambda name: name == "NaturalQuestionsShort", input_columns="subset")
    train = short["train"].shuffle(seed=SEED)
    return {
        "train": train.select(range(TRAIN)),
        "validation": train.select(range(TRAIN, TRAIN + VALIDATION)),
        "test": short["validation"].shuffle(seed=SEED).select(range(TEST)),
    }


def main() -> None:
    """Write all parts."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--examples", type=int, help="so many made-up rows, and no network")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    examples = [made_up(number) for number in range(given.examples or 0)]
    parts = dict.fromkeys(("train", "validation", "test"), examples) if given.examples else rows()
    for name, found in parts.items():
        lines = [json.dumps(chat(row)) + "\n" for row in found]
        (given.out / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")
        print(f"{given.out / name}.jsonl: {len(lines)} rows")


if __name__ == "__main__":
    main()

"""GSM8K as chats: DIR/{train,validation,test}.jsonl; 473 of its training rows are for validation.

    python gsm8k.py data/gsm8k                       # from the hub: openai/gsm8k
    python gsm8k.py data/gsm8k --from-folder RAW     # from RAW/gsm8k_{train,test}.jsonl
    python gsm8k.py data/gsm8k --examples 8          # of made-up rows, to try a recipe offline

The prompt asks for what arXiv 2502.08130 describes: to think step by step, and to end with "The
answer is ..." (in SDFT's words, arXiv 2402.13669; that paper's own are not printed in full). Golds
end so too: `#### 72` becomes `The answer is 72.` Calculator marks, `<<48/2=24>>`, are taken out.
"""

from __future__ import annotations

import argparse
import itertools
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

PROMPT = (
    "{question}\n\nThink step by step. Your final answer should be an integer at the end of your "
    "response, formatted as: The answer is {{answer}}."
)
VALIDATION = 473
EXAMPLES = (
    {
        "question": "A baker fills 4 trays with 6 rolls each and sells 9. How many are left?",
        "answer": "She bakes 4*6 = <<4*6=24>>24 rolls.\nOf these 24-9 = <<24-9=15>>15 are left.\n"
        "#### 15",
    },
    {
        "question": "A book of 120 pages is read in 5 equal parts. How many pages has a part?",
        "answer": "A part has 120/5 = <<120/5=24>>24 pages.\n#### 24",
    },
)
"""Made-up rows with the columns of openai/gsm8k."""
_MARKS = re.compile(r"<<.*?>>")


def chat(row: Mapping[str, Any]) -> dict[str, Any]:
    """One row of GSM8K (``question``, ``answer``) as a chat of two turns."""
    steps, mark, answer = row["answer"].rpartition("####")
    if not mark:
        raise ValueError(f"the answer has no ####: {row['answer']!r}")
    gold = f"{_MARKS.sub('', steps).strip()}\nThe answer is {answer.strip()}."
    turns = [("user", PROMPT.format(question=row["question"])), ("assistant", gold)]
    messages = [{"role": role, "content": content} for role, content in turns]
    return {"messages": messages, "final_answer": answer.strip()}


def rows(split: str, folder: Path | None) -> list[Mapping[str, Any]]:
    """The rows of a split, from a folder or from the hub."""
    if folder is not None:
        lines = (folder / f"gsm8k_{split}.jsonl").read_text(encoding="utf-8").split("\n")
        return [json.loads(line) for line in lines if line]
    import datasets

    return list(datasets.load_dataset("openai/gsm8k", "main", split=split))


def main() -> None:
    """Write all parts."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--from-folder", type=Path)
    parser.add_argument("--examples", type=int, help="so many made-up rows, and no network")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    if given.examples:
        made_up = list(itertools.islice(itertools.cycle(EXAMPLES), given.examples))
        parts = dict.fromkeys(("train", "validation", "test"), made_up)
    else:
        train, test = (rows(split, given.from_folder) for split in ("train", "test"))
        parts = {"train": train[:-VALIDATION], "validation": train[-VALIDATION:], "test": test}
    for name, found in parts.items():
        lines = [json.dumps(chat(row)) + "\n" for row in found]
        (given.out / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")
        print(f"{given.out / name}.jsonl: {len(lines)} rows")


if __name__ == "__main__":
    main()

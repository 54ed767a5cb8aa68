"""GSM8K as chats: DIR/train.jsonl and DIR/validation.jsonl (the last 473 of its training rows).

    python gsm8k.py data/gsm8k                       # from the hub: openai/gsm8k
    python gsm8k.py data/gsm8k --from-folder RAW     # from RAW/gsm8k_train.jsonl

The prompt asks for what arXiv 2502.08130 describes: to think step by step, and to end with "The
answer is ..." (in SDFT's words, arXiv 2402.13669; that paper's own are not printed in full). Golds
end so too: `#### 72` becomes `The answer is 72.` Calculator marks, `<<48/2=24>>`, are taken out.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

PROMPT = (
    "{question}\n\nThink step by step. Your final answer should be an integer at the end of your "
    "response, formatted as: The answer is {{answer}}."
)
VALIDATION = 473
_MARKS = re.compile(r"<<.*?>>")


def chat(row: Mapping[str, Any]) -> dict[str, Any]:
    """One row of GSM8K (``question``, ``answer``) as a chat of two turns."""
    steps, mark, answer = row["answer"].rpartition("####")
    if not mark:
        raise ValueError(f"the answer has no ####: {row['answer']!r}")
    gold = f"{_MARKS.sub('', steps).strip()}\nThe answer is {answer.strip()}."
    turns = [("user", PROMPT.format(question=row["question"])), ("assistant", gold)]
    return {"messages": [{"role": role, "content": content} for role, content in turns]}


def rows(folder: Path | None) -> Iterable[Mapping[str, Any]]:
    """The training rows, from a folder or from the hub."""
    if folder is not None:
        lines = (folder / "gsm8k_train.jsonl").read_text(encoding="utf-8").split("\n")
        return [json.loads(line) for line in lines if line]
    import datasets

    loaded: Iterable[Mapping[str, Any]] = datasets.load_dataset(
        "openai/gsm8k", "main", split="train"
    )
    return loaded


def main() -> None:
    """Write both parts."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--from-folder", type=Path)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    chats = [json.dumps(chat(row)) + "\n" for row in rows(given.from_folder)]
    parts = {"train": chats[:-VALIDATION], "validation": chats[-VALIDATION:]}
    for name, lines in parts.items():
        (given.out / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")
        print(f"{given.out / name}.jsonl: {len(lines)} rows")


if __name__ == "__main__":
    main()

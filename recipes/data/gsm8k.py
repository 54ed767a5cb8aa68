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
_MARKS = re.compile(r"<<.*?>>")


def made_up(number: int) -> dict[str, Any]:
    """A row with the columns of openai/gsm8k; no two are the same."""
    days = range(1, number + 2)
    steps = "\n".join(
        f"After day {day} there are {day}*6 = <<{day}*6={day * 6}>>{day * 6}." for day in days
    )
    return {
        "question": f"A baker bakes 6 rolls a day for {len(days)} days. How many are there then?",
        "answer": f"{steps}\n#### {6 * len(days)}",
    }


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
        examples = [made_up(number) for number in range(given.examples)]
        parts = dict.fromkeys(("train", "validation", "test"), examples)
    else:
        train, test = (rows(split, given.from_folder) for split in ("train", "test"))
        parts = {"train": train[:-VALIDATION], "validation": train[-VALIDATION:], "test": test}
    for name, found in parts.items():
        lines = [json.dumps(chat(row)) + "\n" for row in found]
        (given.out / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")
        print(f"{given.out / name}.jsonl: {len(lines)} rows")


if __name__ == "__main__":
    main()

r"""OpenR1-Math as chats: DIR/train.jsonl and DIR/validation.jsonl.

    python openr1_math.py data/openr1-math               # llamafactory/OpenR1-Math-94k, the hub
    python openr1_math.py data/openr1-math --examples 8  # made-up rows, to try a recipe offline

arXiv 2605.12906 calls its data OpenR1-Math-94k. The data set of that name takes of each problem of
open-r1/OpenR1-Math-220k the first trace that math-verify finds correct, under the system's turn
"Please reason step by step, and put your final answer within \boxed{}." That the paper means this
one is likely, and not said. The last 1,000 rows are kept for the loss of held-out golds.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

VALIDATION = 1000
SYSTEM = r"Please reason step by step, and put your final answer within \boxed{}."


def made_up(number: int) -> dict[str, Any]:
    """A row with the columns of llamafactory/OpenR1-Math-94k; no two are the same."""
    terms = range(1, 2 * number + 4, 2)
    thought = "\n".join(f"With {n} it is {sum(range(1, n + 1, 2))}." for n in terms)
    answer = f"<think>\n{thought}\n</think>\n\nThe sum is $\\boxed{{{sum(terms)}}}$."
    turns = (
        ("system", SYSTEM),
        ("user", f"What is the sum of the first {len(terms)} odd numbers?"),
        ("assistant", answer),
    )
    return {
        "messages": [{"role": role, "content": content} for role, content in turns],
        "original_solution": str(sum(terms)),
        "domain": "Number Theory",
        "source": "made up",
    }


def chat(row: Mapping[str, Any]) -> dict[str, Any]:
    """One row (``messages``, ``original_solution``, ``domain``, ``source``) as a chat."""
    messages = [{"role": turn["role"], "content": turn["content"]} for turn in row["messages"]]
    if [turn["role"] for turn in messages] != ["system", "user", "assistant"]:
        raise ValueError(f"not a system's turn, a question and an answer: {messages!r}")
    answer = row["original_solution"]
    return {"messages": messages, "final_answer": answer, "domain": row["domain"]}


def rows() -> Iterable[Mapping[str, Any]]:
    """All rows, from the hub."""
    import datasets

    loaded: Iterable[Mapping[str, Any]] = datasets.load_dataset(
        "llamafactory/OpenR1-Math-94k", split="train"
    )
    return loaded


def main() -> None:
    """Write both parts."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--examples", type=int, help="so many made-up rows, and no network")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    examples = [made_up(number) for number in range(2 * (given.examples or 0))]
    found = examples if given.examples else rows()
    chats = [json.dumps(chat(row)) + "\n" for row in found]
    at = len(chats) - (given.examples or VALIDATION)
    for name, lines in (("train", chats[:at]), ("validation", chats[at:])):
        (given.out / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")
        print(f"{given.out / name}.jsonl: {len(lines)} rows")


if __name__ == "__main__":
    main()

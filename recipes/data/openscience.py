r"""OpenScience as chats, 200,000 of its rows: DIR/train.jsonl and DIR/validation.jsonl.

    python openscience.py data/openscience               # from the hub: nvidia/OpenScience
    python openscience.py data/openscience --examples 8  # made-up rows, to try a recipe offline

arXiv 2605.12906 says "OpenScience", a subset of 200k; which part, and how it was drawn, was not
found. Here they are drawn by seed from the part `OS-Q3-235B-4` (questions with four options), and
1,000 more for the loss of held-out golds.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

TRAIN, VALIDATION, SEED = 200_000, 1000, 42


def made_up(number: int) -> dict[str, Any]:
    """A row with the columns of nvidia/OpenScience; no two are the same."""
    thought = " ".join("Water boils at 100 degrees at 1 atm." for _ in range(number + 1))
    return {
        "input": f"At which pressure does water boil at {100 + number} degrees Celsius?\n"
        "A: about 1 atm\nB: 5 atm\nC: 10 atm\nD: 50 atm",
        "output": f"<think>\n{thought}\n</think>\n\nAt about one atmosphere: \\boxed{{A}}",
    }


def chat(row: Mapping[str, Any]) -> dict[str, Any]:
    """One row (``input``, ``output``) as a chat."""
    turns = (("user", row["input"]), ("assistant", row["output"]))
    return {"messages": [{"role": role, "content": content} for role, content in turns]}


def rows() -> Iterable[Mapping[str, Any]]:
    """Rows drawn by seed, from the hub."""
    import datasets

    loaded: Any = datasets.load_dataset("nvidia/OpenScience", "OS-Q3-235B-4", split="train")
    drawn: Iterable[Mapping[str, Any]] = loaded.shuffle(seed=SEED).select(range(TRAIN + VALIDATION))
    return drawn


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

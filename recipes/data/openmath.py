r"""OpenMathInstruct-2 as chats, 200,000 of its rows: DIR/train.jsonl and DIR/validation.jsonl.

    python openmath.py data/openmath               # from the hub: nvidia/OpenMathInstruct-2
    python openmath.py data/openmath --examples 8  # made-up rows, to try a recipe offline

arXiv 2605.12906 says "OpenMath", a subset of 200k; neither the data set's full name nor how the
subset was drawn was found. Here rows are drawn by seed from the split `train_1M`, and 1,000 more
for the loss of held-out golds. The system's turn is that of the model's own chat template.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

TRAIN, VALIDATION, SEED = 200_000, 1000, 42
SYSTEM = r"Please reason step by step, and put your final answer within \boxed{}."


def made_up(number: int) -> dict[str, Any]:
    """A row with the columns of nvidia/OpenMathInstruct-2; no two are the same."""
    steps = "\n\n".join(
        f"Take 2 from both sides: $x + {2 * n} = {2 * n + 5}$." for n in range(number)
    )
    return {
        "problem": f"Find $x$ with $x + {2 * number} = {2 * number + 5}$.",
        "generated_solution": f"{steps}\n\nSo $x = \\boxed{{5}}$.",
        "expected_answer": "5",
        "problem_source": "augmented_math",
    }


def chat(row: Mapping[str, Any]) -> dict[str, Any]:
    """One row (``problem``, ``generated_solution``, ``expected_answer``) as a chat."""
    turns = (
        ("system", SYSTEM),
        ("user", row["problem"]),
        ("assistant", row["generated_solution"]),
    )
    messages = [{"role": role, "content": content} for role, content in turns]
    more = {"final_answer": row["expected_answer"], "domain": row["problem_source"]}
    return {"messages": messages, **more}


def rows() -> Iterable[Mapping[str, Any]]:
    """Rows drawn by seed, from the hub."""
    import datasets

    loaded: Any = datasets.load_dataset("nvidia/OpenMathInstruct-2", split="train_1M")
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

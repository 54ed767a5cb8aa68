r"""MATH as chats, with the prompts of arXiv 2501.14315: DIR/{train,validation,test}.jsonl.

    python hendrycks_math.py data/math                     # from the hub: the authors' own copy
    python hendrycks_math.py data/math --from-folder RAW   # RAW/math_{train,validation,test}.jsonl
    python hendrycks_math.py data/math --examples 8        # made-up rows, to try a recipe offline

6,766 rows are trained on and 734 are for validation: the 7,500 training problems of MATH, as the
authors divided them; 1,000 of its test problems, as they drew them, are for testing. Both prompts
are theirs, word for word. Golds are the solutions as they are, and so end in \boxed{...}, while the
prompt of the test asks for "Answer: ...".
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

HUB = "appier-ai-research/robust-finetuning"
REVISION = "cbaf933e3c6aa70307f7637b959c8045dfd84912"
PROMPT = "Given a mathematics problem, determine the answer.\nProblem : {problem}\nAnswer: $"
TEST_PROMPT = (
    "Solve the following math problem step by step. The last line of your response should be of "
    "the form Answer: $ANSWER (without quotes) where $ANSWER is the answer to the problem.\n\n"
    "{problem}\n\n"
    'Remember to put your answer on its own line after "Answer:", and you do not need to use a '
    "\\boxed command."
)


def made_up(number: int) -> dict[str, Any]:
    """A row with the columns of MATH; no two are the same."""
    terms = range(2, number + 4)
    steps = " ".join(f"With ${n}$ it is ${sum(range(2, n + 1))}$." for n in terms)
    return {
        "problem": f"What is ${' + '.join(map(str, terms))}$?",
        "level": f"Level {number % 5 + 1}",
        "type": "Prealgebra",
        "solution": f"Add one after the other. {steps} This is $\\boxed{{{sum(terms)}}}$.",
    }


def chat(row: Mapping[str, Any], prompt: str = PROMPT) -> dict[str, Any]:
    """One row of MATH (``problem``, ``solution``, ``level``, ``type``) as a chat.

    ``problem`` stays a column: self-output is asked with another prompt, which is made of it.
    """
    turns = [("user", prompt.format(problem=row["problem"])), ("assistant", row["solution"])]
    messages = [{"role": role, "content": content} for role, content in turns]
    more = {"problem": row["problem"], "gold_solution": row["solution"], "level": row["level"]}
    return {"messages": messages, **more}


def rows(split: str, folder: Path | None) -> Iterable[Mapping[str, Any]]:
    """The rows of a split, from a folder or from the hub."""
    if folder is not None:
        lines = (folder / f"math_{split}.jsonl").read_text(encoding="utf-8").split("\n")
        return [json.loads(line) for line in lines if line]
    import datasets

    loaded: Iterable[Mapping[str, Any]] = datasets.load_dataset(
        HUB, "math-resample", split=split, revision=REVISION
    )
    return loaded


def main() -> None:
    """Write all splits."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--from-folder", type=Path)
    parser.add_argument("--examples", type=int, help="so many made-up rows, and no network")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    for split in ("train", "validation", "test"):
        examples = [made_up(number) for number in range(given.examples or 0)]
        found = examples if given.examples else rows(split, given.from_folder)
        prompt = TEST_PROMPT if split == "test" else PROMPT
        lines = [json.dumps(chat(row, prompt)) + "\n" for row in found]
        (given.out / f"{split}.jsonl").write_text("".join(lines), encoding="utf-8")
        print(f"{given.out / split}.jsonl: {len(lines)} rows")


if __name__ == "__main__":
    main()

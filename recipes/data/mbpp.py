"""MBPP as chats, with the prompts of arXiv 2501.14315: DIR/train.jsonl and DIR/validation.jsonl.

    python mbpp.py data/mbpp                         # from the hub: google-research-datasets/mbpp
    python mbpp.py data/mbpp --from-folder RAW       # from RAW/mbpp_{train,validation}.jsonl
    python mbpp.py data/mbpp --examples 8            # of made-up rows, to try a recipe offline

The prompt is the authors' own, word for word. The gold code stays as it is, Windows line ends
included: `normalize_newlines: true` in the `ppx:` block takes those out.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

PROMPT = (
    "Please refer the given test cases and generate a python function for my problem. "
    "Make sure the written code is wrapped in code block : ```python\n<your code>\n```\n"
    ">>> Problem:\n{text}\n>>> Test Cases:\n{tests}\n"
)


def made_up(number: int) -> dict[str, Any]:
    """A row with the columns of google-research-datasets/mbpp; no two are the same."""
    steps = "".join("  x = x + 1\r\n" for _ in range(number + 1))
    return {
        "task_id": number,
        "text": f"Write a function to add {number + 1} to a number.",
        "code": f"def add(x):\r\n{steps}  return x",
        "test_list": [f"assert add({x}) == {x + number + 1}" for x in (0, 2, -5)],
        "test_setup_code": "",
        "challenge_test_list": [],
    }


def chat(row: Mapping[str, Any]) -> dict[str, Any]:
    """One row of MBPP (``text``, ``code``, ``test_list``) as a chat, with its tests."""
    prompt = PROMPT.format(text=row["text"], tests="\n".join(row["test_list"]))
    turns = [("user", prompt), ("assistant", f"```python\n{row['code']}\n```")]
    messages = [{"role": role, "content": content} for role, content in turns]
    return {"messages": messages, "test_list": list(row["test_list"])}


def rows(split: str, folder: Path | None) -> Iterable[Mapping[str, Any]]:
    """The rows of a split, from a folder or from the hub."""
    if folder is not None:
        lines = (folder / f"mbpp_{split}.jsonl").read_text(encoding="utf-8").split("\n")
        return [json.loads(line) for line in lines if line]
    import datasets

    loaded: Iterable[Mapping[str, Any]] = datasets.load_dataset(
        "google-research-datasets/mbpp", split=split
    )
    return loaded


def main() -> None:
    """Write both splits."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--from-folder", type=Path)
    parser.add_argument("--examples", type=int, help="so many made-up rows, and no network")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    for split in ("train", "validation"):
        examples = [made_up(number) for number in range(given.examples or 0)]
        found = examples if given.examples else rows(split, given.from_folder)
        lines = [json.dumps(chat(row)) + "\n" for row in found]
        (given.out / f"{split}.jsonl").write_text("".join(lines), encoding="utf-8")
        print(f"{given.out / split}.jsonl: {len(lines)} rows")


if __name__ == "__main__":
    main()

"""The demo's target task as chats (DIR/train.jsonl, DIR/validation.jsonl) and its model (base/).

python story.py data/story
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

from ppx_ext import demo
from ppx_ext.demo import tasks


def main() -> None:
    """Write both splits, and the model beside the current folder's recipes."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("out", type=Path)
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    for split, source, count in (("train", "train", 400), ("validation", "test", 40)):
        rows = tasks.make_rows(tasks.TARGET, split=source, count=count, seed=1, style="gold")
        lines = [json.dumps({"messages": row["messages"]}) + "\n" for row in rows]
        (out / f"{split}.jsonl").write_text("".join(lines), encoding="utf-8")
        print(f"{out / split}.jsonl: {len(lines)} rows")
    shutil.copytree(Path(demo.__file__).parent / "base", "base", dirs_exist_ok=True)
    print("base: the embedded model")


if __name__ == "__main__":
    main()

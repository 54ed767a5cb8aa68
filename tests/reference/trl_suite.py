"""TRL's own SFT tests, with our trainer in place of theirs: it must pass all that theirs passes.

TRL's tests are in its repository only, not in what the package index has; give a checkout whose
version is that of the installed TRL (nothing of it is copied here):

    git clone --branch v1.9.0 https://github.com/huggingface/trl
    python -m tests.reference.trl_suite trl

Works offline: the tiny models that the tests ask for are made on the spot, as a cache of the hub,
and the `zen` data set comes from the checkout's own script. Three runs: TRL's trainer; ours without
a block; ours with a mask whose threshold is infinity, so that the base is really scored.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from pathlib import Path

PLUGIN = "trl_suite_plugin"
KINDS = ("stock", "ours", "infinity")
# Need models that are not made here, a GPU, or names that newer lines no longer have.
LEFT_OUT = (
    "liger", "vlm", "vision", "Chunked", "DFTLoss", "Cohere", "Glm4", "Nemotron", "Olmo3",
    "remote", "set_chat_template_from_model", "harmony", "gpt_oss", "GptOss", "Gemma", "Phi3",
    "Deepseek", "multi_image", "image", "moe", "Moe", "kernels", "offloading", "toolcall",
)  # fmt: skip


def outcomes(checkout: Path, kind: str, scratch: Path) -> dict[str, str]:
    """Name of each test -> passed, failed or skipped."""
    report = scratch / f"{kind}.xml"
    environment = {
        **os.environ,
        # By its own name: `tests` is TRL's package there.
        "PYTHONPATH": str(Path(__file__).parent),
        "PPX_TRL_KIND": kind,
        "PPX_TRL_CHECKOUT": str(checkout),
        "HF_HOME": str(scratch / "hub"),
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "CUDA_VISIBLE_DEVICES": "",
    }
    words = " and ".join(f"not {word}" for word in LEFT_OUT)
    command = [
        sys.executable, "-m", "pytest", "tests/test_sft_trainer.py", "-q", "-p", PLUGIN,
        "-k", words, "-m", "not slow", f"--junitxml={report}", "-p", "no:cacheprovider",
        "--timeout", "120", "-o", "addopts=",
    ]  # fmt: skip
    done = subprocess.run(
        command, cwd=checkout, env=environment, capture_output=True, text=True, check=False
    )
    if not report.is_file():
        raise RuntimeError(done.stdout[-4000:] + done.stderr[-4000:])
    (scratch / f"{kind}.log").write_text(done.stdout)
    found = {}
    for case in ElementTree.parse(report).iter("testcase"):
        tags = {child.tag for child in case}
        state = "failed" if tags & {"failure", "error"} else "passed"
        found[f"{case.get('classname')}::{case.get('name')}"] = (
            "skipped" if "skipped" in tags else state
        )
    return found


def compare(checkout: Path, scratch: Path, kinds: tuple[str, ...] = KINDS) -> dict[str, set[str]]:
    """Kind -> the tests that TRL's trainer passes and ours does not; prints all counts."""
    shutil.copytree(checkout / "tests", scratch / "trl" / "tests")
    shutil.copytree(checkout / "scripts", scratch / "trl" / "scripts")
    found = {kind: outcomes(scratch / "trl", kind, scratch) for kind in kinds}
    passed = {
        kind: {name for name, state in states.items() if state == "passed"}
        for kind, states in found.items()
    }
    for kind, states in found.items():
        counts = {s: sum(v == s for v in states.values()) for s in ("passed", "failed", "skipped")}
        print(kind, counts)
    return {kind: passed["stock"] - passed[kind] for kind in kinds[1:]}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkout", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        missed = compare(given.checkout.resolve(), Path(scratch))
    for kind, names in missed.items():
        for name in sorted(names):
            print(f"{kind} fails, stock passes: {name}")
    return int(bool(missed["ours"]))


if __name__ == "__main__":
    sys.exit(main())

"""`axolotl train CONFIG` in one of several processes that train with DeepSpeed on a CPU."""

from __future__ import annotations

import sys

from tests.hosts import zero3

if __name__ == "__main__":
    zero3.on_a_cpu()
    from axolotl.cli.args import TrainerCliArgs
    from axolotl.cli.config import load_cfg
    from axolotl.cli.train import do_train

    do_train(load_cfg(sys.argv[1]), TrainerCliArgs())

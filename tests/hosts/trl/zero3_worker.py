"""`ppx` in one of several processes that train with DeepSpeed on a CPU."""

from __future__ import annotations

from ppx_ext.cli import main
from tests.hosts import zero3

if __name__ == "__main__":
    zero3.on_a_cpu()
    main(prog_name="ppx")

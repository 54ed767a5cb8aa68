"""``ppx demo``: plain fine-tuning, STM and S3FT on an embedded model, measured and judged.

Protocol (`settings.Settings` says how its settings were chosen); a small `ppx compare`:

* The base is a two-million-parameter Llama that knows ten small tasks, one of them (the target)
  only in part. Gold answers of the target are right, but worded as the base would not word them.
* Three arms: plain SFT; STM, which is SFT with the mask `stm` at 2.5; S3FT, which is SFT on rows
  that the base has built: its own answer where that is right, else its paraphrase of the gold
  where that is, else the gold. One recipe, the same questions, seeds, order and settings. The
  `ppx:` block is the only difference.
* Seeds vary the adapter's first weights and the order of the rows; rows and items are fixed.
* Every model answers the same held-out items, greedily; an answer is right where its final answer
  is, however worded. The base is measured once.
* An arm is judged on the target and on the mean of the other tasks. A difference counts where an
  exact sign-flip test over seeds and a paired bootstrap over items both find it at 5 %, after
  Holm's correction for the number of comparisons.

Whatever comes out is what is printed.
"""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ppx_ext import recipes
from ppx_ext.comparing import run as comparing
from ppx_ext.comparing.show import show
from ppx_ext.demo import recipe
from ppx_ext.demo.material import DATA_ROWS, embedded, from_data
from ppx_ext.demo.settings import Settings

BASE = Path(__file__).parent / "base"
ARMS = {"SFT": "sft", "STM": "stm", "S3FT": "s3ft"}
DEFAULT_SEEDS = 8
Json = dict[str, Any]


def run(
    out: Path,
    *,
    seeds: int | Sequence[int] = DEFAULT_SEEDS,
    data: str | Path | None = None,
    rows: int | None = None,
    fields: Mapping[str, str] | None = None,
    settings: Settings | None = None,
    base: Path = BASE,
    workers: int | None = None,
) -> Json:
    """Run the demo into ``out`` and return the content of its report.json.

    Args:
        out: a folder for report.json, report.html and what they are made of; a demo that was cut
            short goes on there.
        seeds: how many (0, 1, ...), or which.
        data: learn these rows in place of the embedded target (anything that
            `rows.canonical_rows` reads).
        rows: train on so many rows; by default `Settings.train_rows`, and `DATA_ROWS` of ``data``,
            whose responses can be long.
        fields: names of its columns (`prompt` and `response`, or `messages`), if unclear.
        settings: how to train and measure.
        base: folder of the base model.
        workers: processes side by side, one thread each; by default one for each core.

    Raises:
        ValueError: no seed, no base model at ``base``, or unusable ``data``.
    """
    began = time.perf_counter()
    chosen = tuple(range(seeds)) if isinstance(seeds, int) else tuple(seeds)
    settings = settings or Settings()
    if not (base / "config.json").is_file():
        raise ValueError(f"{base} holds no model; make one: python -m ppx_ext.demo.make_base")
    if rows is not None or data is not None:
        settings = dataclasses.replace(settings, train_rows=rows or DATA_ROWS)
    material = embedded(settings) if data is None else from_data(data, settings, fields)
    path = recipe.write(material, settings, base=base, out=out)
    wanted = comparing.Wanted(
        recipe=recipes.load(path),
        arms=tuple(ARMS),
        given=ARMS,
        seeds=chosen,
        out=out,
        sweep=False,
        workers=workers or len(os.sched_getaffinity(0)),
        kind="demo",
        title=material.title,
        warnings=material.warnings,
        command=_command(chosen, data, settings),
    )
    found = comparing.compare(wanted)
    show(found, out=out, seconds=time.perf_counter() - began)
    return found


def _command(seeds: Sequence[int], data: str | Path | None, settings: Settings) -> str | None:
    given = f" --data {data} --rows {settings.train_rows}" if data else ""
    consecutive = list(seeds) == list(range(len(seeds)))
    return f"ppx demo --seeds {len(seeds)}{given}" if consecutive else None

"""Rows of a prepared data set with each token coloured by perplexity, and masked ones struck out.

In the terminal, as one self-contained HTML page, and in a notebook (`TokenView` shows itself).
"""

from __future__ import annotations

import base64
import functools
import hashlib
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ppx_ext.files import write_atomic
from ppx_ext.shown import EDGES, Shown, ViewRow, shown

if TYPE_CHECKING:
    from jinja2 import Environment
    from rich.console import Console
    from transformers import PreTrainedTokenizerBase as Tokenizer

    from ppx_ext.prepared import PreparedRow


@dataclass(frozen=True, kw_only=True)
class TokenView:
    """Rows to look at: ``print`` them, ``save`` them as a page, or let a notebook show them.

    Args:
        rows: what to show.
        tokenizer: tells the text of tokens; None shows their ids.
        title: heading of the page.
        threshold: the perplexity above which tokens are masked, where there is one.
        facts: (name, value) pairs to print under the heading.
    """

    rows: Sequence[ViewRow]
    tokenizer: Tokenizer | None = None
    title: str = "Token perplexities"
    threshold: float | None = None
    facts: Sequence[tuple[str, str]] = field(default=())

    @functools.cached_property
    def shown(self) -> list[Shown]:
        """The rows, ready for a template."""
        texts = self._texts()
        special = frozenset(self.tokenizer.all_special_ids) if self.tokenizer else frozenset()
        return [shown(row, texts, special) for row in self.rows]

    def html(self) -> str:
        """One self-contained page: no network, and scripts only for extras."""
        script = _templates().get_template("view.js").render()
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        return self._render("view.html", script=script, digest=digest)

    def save(self, path: Path) -> Path:
        """Write the page to ``path``, wholly or not at all."""
        page = self.html().encode()
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, lambda file: file.write(page))
        return path

    def print(self, console: Console | None = None) -> None:
        """Show the rows in the terminal."""
        from ppx_ext.view_terminal import print_rows

        print_rows(self, console)

    def _repr_html_(self) -> str:
        return self._render("view_fragment.html")

    def _render(self, template: str, **more: Any) -> str:
        return _templates().get_template(template).render(view=self, edges=EDGES, **more)

    def _texts(self) -> dict[int, str]:
        ids = sorted({int(token) for row in self.rows for token in row.ids_T})
        if self.tokenizer is None:
            return {token: f"{token} " for token in ids}
        from ppx_ext.statistics import token_texts

        return dict(zip(ids, token_texts(self.tokenizer, ids), strict=True))


def show(folder: str | Path, *, rows: int, html: Path | None = None) -> TokenView:
    """Show the first rows of a prepared folder in the terminal, or write them as a page.

    Args:
        folder: what `ppx prepare` wrote.
        rows: how many rows.
        html: where to write the page; None prints to the terminal.

    Raises:
        ValueError: nothing is prepared there.
        OSError: the page cannot be written.
    """
    view = read(folder, rows=rows)
    if html is None:
        view.print()
    else:
        print(f"Wrote {view.save(html)}")
    return view


def read(folder: str | Path, *, rows: int) -> TokenView:
    """The first rows of a prepared folder, to be shown (in a notebook: as they are returned).

    Raises:
        ValueError: nothing is prepared there.
    """
    from ppx_ext.prepared import load_prepared

    prepared = load_prepared(folder)
    found = [_view_row(row) for row in itertools.islice(prepared.rows(), rows)]
    about = prepared.manifest
    return TokenView(
        rows=found,
        tokenizer=prepared.tokenizer,
        title=f"{Path(folder).name}: token perplexities under {about['base']['name']}",
        threshold=(about.get("state") or {}).get("ppl_threshold"),
        facts=_facts(about, len(found)),
    )


def _view_row(row: PreparedRow) -> ViewRow:
    from ppx_ext.statistics import nll_of

    example = row.scored.example
    nll_T = np.full(len(example.ids_T), np.nan)
    nll_R = nll_of(row.scored)
    if nll_R is not None:
        nll_T[example.target_T] = nll_R
    return ViewRow(
        row=example.row,
        ids_T=example.ids_T,
        target_T=example.target_T,
        keep_T=row.keep_T,
        nll_T=nll_T,
    )


def _facts(about: Mapping[str, Any], shown: int) -> list[tuple[str, str]]:
    facts = [("rows shown", f"{shown} of {about['dataset']['rows']}")]
    record = next((r for r in about["records"] if r["stage"] == "mask"), None)
    if record is None:
        return [*facts, ("mask", "none in these labels")]
    numbers, settings = record["numbers"], record["settings"]
    lines = [key for key in ("ppl_threshold", "mask_fraction") if settings.get(key) is not None]
    words = [record["component"], *(f"{key} {settings[key]}" for key in lines)]
    facts = [("mask", ", ".join(words)), *facts]
    if settings.get("apply", "baked") != "baked":
        facts.append(("applied", f"{settings['apply']}: not in these labels"))
    facts.append(("masked of all targets", f"{numbers['masked_share']:.1%}"))
    if numbers.get("loss_kept") is not None:
        facts.append(("loss kept", f"{numbers['loss_kept']:.1%}"))
    return facts


@functools.cache
def _templates() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=PackageLoader("ppx_ext", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )

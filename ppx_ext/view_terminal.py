"""The view in the terminal."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from ppx_ext.shown import EDGES, Part, Shown, Token
from ppx_ext.visible import named

if TYPE_CHECKING:
    from rich.console import Console
    from rich.style import Style
    from rich.text import Text

    from ppx_ext.view import TokenView

# Lightness alone tells the levels apart (ColorBrewer's YlOrBr), so every colour vision does.
BACKGROUNDS = (
    None,
    "#fff3c4",
    "#fee391",
    "#fec44f",
    "#fe9929",
    "#ec7014",
    "#cc4c02",
    "#993404",
    "#662506",
)
_FIRST_WHITE = 6
_GLYPHS = {"tab": "→\t", "cr": "␍", "newline": "↵\n"}


def print_rows(view: TokenView, console: Console | None = None) -> None:
    """Print the rows; without colours, masked tokens stand in ``[-`` ``-]``."""
    from rich.console import Console
    from rich.rule import Rule
    from rich.text import Text

    console = console or Console(highlight=False)
    marks = console.color_system is None
    console.print(Text(named(view.title), style="bold"))
    for name, value in view.facts:
        console.print(Text.assemble((f"{named(name)}: ", "dim"), named(value)))
    console.print(_legend(marks))
    for row in view.shown:
        console.print(Rule(Text(_numbers(row)), align="left", style="dim"))
        text = Text()
        for part in itertools.chain.from_iterable(row.blocks):
            _append(text, part, marks)
        console.print(text, soft_wrap=True)


def _numbers(row: Shown) -> str:
    share = f" ({row.masked / row.targets:.1%})" if row.targets else ""
    words = [f"row {row.row}", f"{row.targets} targets", f"{row.masked} masked{share}"]
    if row.loss_kept is not None:
        words.append(f"loss kept {row.loss_kept:.1%}")
    if row.ppl is not None:
        kept = f" -> {row.ppl_kept:.2f} kept" if row.ppl_kept is not None else ""
        words.append(f"perplexity {row.ppl:.2f}{kept}")
    return " · ".join(words)


def _legend(marks: bool) -> Text:
    from rich.text import Text

    if marks:
        return Text("masked tokens stand in [- -]; the prompt is shown as it is")
    legend = Text("perplexity ")
    for level, edge in enumerate((1.0, *EDGES)):
        legend.append(f" {edge:g}+ ", _style(level, masked=False))
    legend.append("  ")
    legend.append("masked", _style(0, masked=True))
    legend.append("  ")
    legend.append("prompt", "dim")
    return legend


def _append(text: Text, part: Part, marks: bool) -> None:
    open_mark = False
    for token in part.tokens:
        if marks and token.masked != open_mark:
            text.append("[-" if token.masked else "-]")
            open_mark = token.masked
        style = _style(token.level, masked=token.masked) if part.response else "dim"
        text.append(_visible(token, spaces=part.response), style)
    if open_mark:
        text.append("-]")


def _visible(token: Token, *, spaces: bool) -> str:
    shown = []
    for piece in token.pieces:
        if piece.kind == "space":
            shown.append("·" * len(piece.text) if spaces else piece.text)
        else:
            shown.append(
                _GLYPHS.get(piece.kind, piece.text) if spaces else _plain(piece.kind, piece.text)
            )
    return "".join(shown)


def _plain(kind: str, text: str) -> str:
    return "" if kind == "cr" else text


def _style(level: int, *, masked: bool) -> Style:
    from rich.style import Style

    background = BACKGROUNDS[level]
    color = None if background is None else "white" if level >= _FIRST_WHITE else "black"
    return Style(color=color, bgcolor=background, strike=masked or None)

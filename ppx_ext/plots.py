"""What plots are drawn with: the page's colours, and SVG and PNG of the same figure.

Inline SVG needs no network and no script, and has the same bytes for the same numbers. Its colours
are CSS variables, so that one file is readable in light and in dark; a PNG has those of light.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Name of the CSS variable -> its colour in light, in dark. Those of arms keep apart for the colour
# blind (after Okabe and Ito, darkened for a light page); no two are the same.
COLOURS = {
    "paper": ("#fbfaf8", "#14171b"),
    "card": ("#ffffff", "#1b1f25"),
    "ink": ("#1d2127", "#e8e6e1"),
    "soft": ("#5f6772", "#9aa3ae"),
    "line": ("#dfdcd6", "#343a43"),
    "arm-0": ("#c8501e", "#f08a5a"),
    "arm-1": ("#0f6ba8", "#5aaee8"),
    "arm-2": ("#b8578d", "#e39ac4"),
    "arm-3": ("#00805c", "#3fc79a"),
    "arm-4": ("#a67c00", "#e8b93a"),
    "arm-5": ("#3a93c9", "#9ad7f5"),
    "arm-6": ("#5b5b66", "#b4b8c0"),
    "arm-7": ("#7b4b2a", "#c99b75"),
    "warn": ("#8a5a00", "#f0c667"),
    "warn-paper": ("#fff6df", "#2a2415"),
    "warn-line": ("#edd9a3", "#57481d"),
    "chip": ("#f1eee8", "#262b32"),
}
INK, SOFT, LINE, PAPER = (COLOURS[name][0] for name in ("ink", "soft", "line", "paper"))
ARMS = tuple(light for name, (light, _) in COLOURS.items() if name.startswith("arm-"))
_DRAWN = ("paper", "ink", "soft", "line", *(f"arm-{place}" for place in range(len(ARMS))))
MARKERS = ("o", "D", "s", "^", "v", "P", "X", "h")
FONT_SIZE = 11
_DPI = 200


def variables(scheme: Literal["light", "dark"]) -> str:
    """The variables of `COLOURS` as CSS declarations."""
    at = ("light", "dark").index(scheme)
    return " ".join(f"--{name}: {colours[at]};" for name, colours in COLOURS.items())


def css() -> str:
    """The variables of `COLOURS`, for light and for dark."""
    return (
        f":root {{ {variables('light')} }}\n"
        f"@media (prefers-color-scheme: dark) {{ :root {{ {variables('dark')} }} }}"
    )


@contextmanager
def drawn(name: str, *, width: float, height: float) -> Iterator[tuple[Figure, Axes]]:
    """A figure in the page's colours, sizes in inches.

    ``name`` keeps its ids apart from those of other figures of a page.
    """
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    look = {"svg.hashsalt": name, "svg.fonttype": "none", "font.size": FONT_SIZE}
    with mpl.rc_context(look):
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasSVG(figure)
        figure.patch.set_alpha(0)
        axes = figure.add_subplot()
        axes.patch.set_alpha(0)
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[["left", "bottom"]].set_color(LINE)
        axes.tick_params(color=LINE, labelcolor=SOFT)
        axes.xaxis.label.set_color(SOFT)
        axes.yaxis.label.set_color(SOFT)
        axes.grid(color=LINE, linewidth=0.5, alpha=0.6)
        axes.set_axisbelow(True)
        yield figure, axes


@dataclass(frozen=True, kw_only=True)
class Plot:
    """A figure as it is shown: ``svg`` stands in a page, the others are files."""

    svg: str
    figure: Figure

    def svg_file(self) -> str:
        """The picture as a file of its own, in light and in dark."""
        box = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', self.svg)
        assert box is not None
        size = f'xmlns="http://www.w3.org/2000/svg" width="{box[1]}" height="{box[2]}" '
        style = (
            f"<style>{css()}\nsvg {{ background: var(--card); "
            "font-family: system-ui, sans-serif; }</style>"
        )
        opening, rest = self.svg.split(">", 1)
        return opening.replace("<svg ", f"<svg {size}") + f">{style}{rest}"

    def png(self) -> bytes:
        """The picture on white."""
        stream = io.BytesIO()
        self.figure.savefig(
            stream, format="png", dpi=_DPI, facecolor="white", metadata={"Software": None}
        )
        return stream.getvalue()


def plot(figure: Figure, label: str) -> Plot:
    """A drawn figure as a `Plot`; ``label`` is what a screen reader says."""
    return Plot(svg=svg(figure, label), figure=figure)


def svg(figure: Figure, label: str) -> str:
    """A drawn figure as inline SVG; ``label`` is what a screen reader says."""
    from html import escape

    stream = io.StringIO()
    figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    text = stream.getvalue()
    text = text[text.index("<svg") :]
    # An inline figure has the page's font and width; the namespace of its root needs no address.
    more = f'role="img" aria-label="{escape(label)}">'
    root = re.compile(r'<svg [^>]*?(viewBox="[^"]+")[^>]*>')
    text = root.sub(lambda found: f"<svg {found[1]} {more}", text, count=1)
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'<g id="[^"]*"', "<g", text)  # two figures of a page would share these
    text = text.replace("xlink:href", "href")
    text = re.sub(r" font-family: [^;\"]*;", "", text)
    text = re.sub(r"font: ([\d.]+px) [^;\"]*", r"font-size: \1", text)  # older matplotlib
    for name in _DRAWN:
        text = text.replace(COLOURS[name][0], f"var(--{name})")
    return text

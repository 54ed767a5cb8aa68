"""The study's plots: heat maps, gains of slices, gaps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ppx_ext.difficulty_study.table import Measure
from ppx_ext.plots import ARMS, INK, LINE, MARKERS, drawn, svg

Json = Mapping[str, Any]

_UP, _DOWN = ARMS[1], ARMS[0]


def heat_map(cells: Sequence[Json], measure: Measure) -> str:
    """Overall gain over the base: ranges across, n upwards; the best of each n is framed.

    ``cells`` are of one base and one arm. In points, or nats a token.
    """
    from matplotlib.patches import Rectangle

    names = list(dict.fromkeys(cell["range"] for cell in cells))
    budgets = sorted({cell["n"] for cell in cells})
    scale = 100 if measure == "accuracy" else 1
    of = {(c["range"], c["n"]): scale * c["gain"][measure]["mean"] for c in cells}
    most = max(map(abs, of.values())) or 1.0
    with drawn(f"heat-{measure}-{cells[0]['base']}", width=4.2, height=2.9) as (figure, axes):
        axes.grid(visible=False)
        for (name, n), gain in of.items():
            x, y = names.index(name), budgets.index(n)
            best = gain == max(of[other, n] for other in names)
            axes.add_patch(Rectangle(
                (x - 0.46, y - 0.46), 0.92, 0.92, alpha=0.08 + 0.62 * abs(gain) / most,
                facecolor=_UP if gain > 0 else _DOWN, linewidth=0,
            ))  # fmt: skip
            if best:
                axes.add_patch(Rectangle((x - 0.46, y - 0.46), 0.92, 0.92, fill=False,
                                         edgecolor=INK, linewidth=2))  # fmt: skip
            text = f"{gain:+.1f}" if measure == "accuracy" else f"{gain:+.3f}"
            axes.text(x, y, text, ha="center", va="center", color=INK)
        axes.set_xticks(range(len(names)), names)
        axes.set_yticks(range(len(budgets)), list(map(str, budgets)))
        axes.set_xlim(-0.5, len(names) - 0.5)
        axes.set_ylim(-0.5, len(budgets) - 0.5)
        axes.set_ylabel("n")
        return svg(figure, f"Overall gain in {measure} by range and n")


def slice_gains(cells: Sequence[Json], ops: Sequence[int], measure: Measure) -> str:
    """Gain over the base in each slice, one line a range; ``cells`` are of one n and one arm."""
    scale = 100 if measure == "accuracy" else 1
    name = f"slices-{measure}-{cells[0]['n']}"
    with drawn(name, width=4.2, height=3.2) as (figure, axes):
        axes.axhline(0, color=LINE, linewidth=1.5)
        for place, cell in enumerate(cells):
            gains = [scale * gain for gain in cell["slice_gains"][measure]]
            axes.plot(ops, gains, color=ARMS[place], marker=MARKERS[place], label=cell["range"])
        axes.set_xticks(list(ops))
        axes.set_xlabel("operations")
        axes.set_ylabel("gain (points)" if measure == "accuracy" else "gain (nats a token)")
        _legend(axes)
        return svg(figure, f"Gain in {measure} by operations, n = {cells[0]['n']}")


def gap_lines(cells: Sequence[Json], which: str) -> str:
    """A gap against n, one line a range, with its standard deviation over seeds."""
    names = list(dict.fromkeys(cell["range"] for cell in cells))
    with drawn(f"gap-{which}", width=4.2, height=3.2) as (figure, axes):
        axes.axhline(0, color=LINE, linewidth=1.5)
        for place, name in enumerate(names):
            row = [cell for cell in cells if cell["range"] == name]
            axes.errorbar(
                [cell["n"] for cell in row],
                [cell[which]["mean"] for cell in row],
                [cell[which]["sd"] or 0.0 for cell in row],
                color=ARMS[place], marker=MARKERS[place], label=name, capsize=3,
            )  # fmt: skip
        budgets = [cell["n"] for cell in cells if cell["range"] == names[0]]
        axes.set_xscale("log")
        axes.set_xticks(budgets, list(map(str, budgets)))
        axes.minorticks_off()
        axes.set_xlabel("n")
        axes.set_ylabel("nats a token")
        _legend(axes)
        return svg(figure, f"The {which.replace('_', ' ')} by n")


def _legend(axes: Any) -> None:
    axes.legend(frameon=False, labelcolor=INK, ncol=3, loc="lower center",
                bbox_to_anchor=(0.5, 1.0), handletextpad=0.3, columnspacing=1.0)  # fmt: skip

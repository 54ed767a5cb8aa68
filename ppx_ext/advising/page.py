"""advice.json and advice.html: all numbers, and one self-contained page."""

from __future__ import annotations

from pathlib import Path

from ppx_ext.advising import drawing, show
from ppx_ext.advising.advice import Advice, Prior
from ppx_ext.records import write_json, write_text

JSON_FILE, PAGE_FILE = "advice.json", "advice.html"


def write(folder: Path, found: Advice | Prior) -> list[Path]:
    """Write the numbers, and the page where there are pilots to show; returns the files."""
    written = [folder / JSON_FILE]
    folder.mkdir(parents=True, exist_ok=True)
    write_json(written[0], found.dump())
    if isinstance(found, Advice):
        written.append(folder / PAGE_FILE)
        write_text(written[1], render(found))
    return written


def render(found: Advice) -> str:
    """The page: one file, no network, no script; everything from data is escaped."""
    import jinja2
    from markupsafe import Markup

    from ppx_ext.reporting.text import prose

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("ppx_ext"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["prose"] = prose
    return environment.get_template("advice.html.j2").render(
        advice=found,
        cells=found.fitted.cells,
        heat=Markup(drawing.heat(found)),
        drift=Markup(drawing.drift(found)),
        slices=Markup(drawing.slices(found)),
        block=show.block(found.choose),
        next=show.next_words(found),
    )

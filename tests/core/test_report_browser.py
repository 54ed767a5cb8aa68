"""Reports in a real browser: they render without a complaint, on every screen and on paper.

Set ``PPX_SCREENSHOTS`` to a folder to keep the pictures.
"""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from ppx_ext import reporting
from ppx_ext.records import write_json
from tests.browser import Browser, browser
from tests.core import reported
from tests.core.test_report import demo_folder
from tests.core.test_report_choose import budget

SCREENS = {
    "light": {"width": 1280},
    "dark": {"width": 1280, "dark": True},
    "phone": {"width": 390, "height": 844, "phone": True},
}
PAPER = 690  # what A4 leaves between its margins, in CSS pixels
KINDS = ("training", "comparison", "demo", "prepared")

# What shows beyond the right edge without a region of its own to scroll in.
OUTSIDE = """[...document.querySelectorAll('body *')].filter(one =>
  !one.closest('.scroll') && !one.closest('svg') &&
  one.getBoundingClientRect().right > innerWidth + 1).map(one => one.outerHTML.slice(0, 80))"""
HEADINGS = "[...document.querySelectorAll('h1, h2, h3, h4')].map(one => +one.tagName[1])"
UNNAMED = """[...document.querySelectorAll('svg')].filter(one => !one.ariaLabel).length
  + [...document.querySelectorAll('table')].filter(one => !one.querySelector('thead th')).length
  + [...document.querySelectorAll('th')].filter(one => !one.scope).length"""
# The least contrast of text with what lies beneath it, as WCAG 2 counts it.
CONTRAST = """(() => {
  const light = c => { const v = c.match(/[\\d.]+/g).slice(0, 3).map(n => n / 255)
    .map(n => n <= 0.04045 ? n / 12.92 : ((n + 0.055) / 1.055) ** 2.4);
    return 0.2126 * v[0] + 0.7152 * v[1] + 0.0722 * v[2]; };
  const beneath = one => { for (; one; one = one.parentElement) {
    const c = getComputedStyle(one).backgroundColor;
    if (/^rgb\\(/.test(c)) return c; } return 'rgb(255, 255, 255)'; };
  const texts = 'p, li, td, th, dd, dt, figcaption, .soft, h1, h2, h3';
  const ratios = [...document.querySelectorAll(texts)].filter(one => !one.closest('.ppx-view'))
    .map(one => { const [a, b] = [light(getComputedStyle(one).color), light(beneath(one))];
      return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05); });
  return Math.min(...ratios); })()"""


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as found:
        yield found


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A report of each kind."""
    found = {kind: tmp_path_factory.mktemp(kind) for kind in KINDS}
    reported.logged(reported.evaluated(found["training"]))
    write_json(found["training"] / "ppx_state.json", {"plan": {"seed": 1}, "records": [budget()]})
    reported.compared(found["comparison"], arms=tuple(reported.ARMS)[:5], seeds=2)
    demo_folder(found["demo"])
    write_json(found["prepared"] / "manifest.json", {"plan": {}, "records": [budget()]})
    for folder in found.values():
        reporting.write(folder)
    return found


def test_what_is_wrong_with_a_page_is_seen(chromium: Browser, tmp_path: Path) -> None:
    page = tmp_path / "bad.html"
    page.write_text(
        "<p style='width: 900px; color: #aaa'>wide and faint</p><img src='none.png'>"
        "<script>console.error('oh'); missing()</script>"
    )
    chromium.open(page, width=390, phone=True)
    assert len(chromium.complaints) == 3, "an error told, one thrown, a picture that is not there"
    assert len(chromium.requests) == 2
    assert chromium.value("document.scrollingElement.scrollWidth > 390")
    assert chromium.value(CONTRAST) < 3


@pytest.mark.parametrize("screen", SCREENS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_page_renders(
    kind: str, screen: str, chromium: Browser, folders: dict[str, Path], tmp_path: Path
) -> None:
    page = folders[kind] / "report.html"
    chromium.complaints.clear()
    chromium.requests.clear()
    chromium.open(page, **SCREENS[screen])  # type: ignore[arg-type]
    keep = Path(os.environ.get("PPX_SCREENSHOTS") or tmp_path)
    picture = chromium.screenshot(keep / f"report-{kind}-{screen}.png")
    assert picture.stat().st_size > 20_000
    assert chromium.complaints == []
    assert chromium.requests == [page.resolve().as_uri()], "nothing but the page is asked for"
    assert chromium.value("document.scrollingElement.scrollWidth <= innerWidth"), chromium.value(
        OUTSIDE
    )
    assert chromium.value(OUTSIDE) == []
    assert chromium.value("innerWidth") == SCREENS[screen]["width"]
    assert chromium.value(CONTRAST) >= 4.5


@pytest.mark.parametrize("kind", KINDS)
def test_a_page_can_be_read_aloud_and_printed(
    kind: str, chromium: Browser, folders: dict[str, Path], tmp_path: Path
) -> None:
    chromium.open(folders[kind] / "report.html", width=1280)
    levels = chromium.value(HEADINGS)
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(now - before <= 1 for before, now in itertools.pairwise(levels))
    assert chromium.value(UNNAMED) == 0
    assert chromium.value("document.documentElement.lang") == "en"
    keep = Path(os.environ.get("PPX_SCREENSHOTS") or tmp_path)
    chromium.open(folders[kind] / "report.html", width=PAPER, media="print")
    assert chromium.value("document.scrollingElement.scrollWidth <= innerWidth")
    printed = chromium.pdf(keep / f"report-{kind}.pdf").read_bytes()
    assert printed.startswith(b"%PDF")
    assert len(re.findall(rb"/Type\s*/Page\b", printed)) >= 1


def test_dark_is_dark_and_a_plot_is_drawn_in_its_colours(
    chromium: Browser, folders: dict[str, Path]
) -> None:
    seen = {}
    for name in ("light", "dark"):
        chromium.open(folders["demo"] / "report.html", **SCREENS[name])  # type: ignore[arg-type]
        ink = "getComputedStyle(document.querySelector('svg text')).fill"
        seen[name] = (chromium.value("getComputedStyle(document.body).backgroundColor"),
                      chromium.value(ink))  # fmt: skip
    assert seen["light"][0] == "rgb(251, 250, 248)"
    assert seen["dark"][0] == "rgb(20, 23, 27)"
    assert seen["light"][1] != seen["dark"][1]


def test_a_plot_of_its_own_opens_too(chromium: Browser, folders: dict[str, Path]) -> None:
    chromium.complaints.clear()
    for path in sorted((folders["training"] / "plots").glob("*.svg")):
        chromium.open(path, width=800)
        assert chromium.value("document.documentElement.getBBox().width") > 100
    assert chromium.complaints == []

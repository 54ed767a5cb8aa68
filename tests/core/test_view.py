"""What `ppx view` shows, and that data can neither break the page nor the terminal."""

from __future__ import annotations

import html.parser
import io
import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datasets import Dataset
from rich.console import Console

from ppx_ext import pipeline, plan, view
from ppx_ext.effects import base_from_model
from ppx_ext.shown import EDGES, ViewRow, shown
from ppx_ext.view import TokenView
from ppx_ext.visible import named, pieces
from tests.core.masked_rows import CATALOG, ENDS, THRESHOLD
from tests.models import tiny_model, tiny_tokenizer

CODE = "def add(a, b):\n    return a + b"
EVIL = "<script>alert(1)</script><img src=x onerror=alert(1)>\"'&amp;{{7*7}}\x1b[31m\u202e\x00"


class Page(html.parser.HTMLParser):
    """The tags of a page, its text, and the tokens with their classes."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: Counter[str] = Counter()
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.struck: list[str] = []
        self._open: list[bool] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes += attrs
        classes = (dict(attrs).get("class") or "").split()
        if tag == "span":
            self._open.append("x" in classes and "t" in classes)
            if self._open[-1]:
                self.struck.append("")

    def handle_endtag(self, tag: str) -> None:
        if tag == "span":
            self._open.pop()

    def handle_data(self, data: str) -> None:
        self.text += data
        if any(self._open):
            self.struck[-1] += data


def view_of(text: str, masked: str = "", **options: Any) -> TokenView:
    """A row whose prompt is one token and whose response is ``text``."""
    tokenizer = tiny_tokenizer(corpus=[CODE] * 9)
    ids = [1, *tokenizer(text, add_special_tokens=False)["input_ids"], 2]
    target_T = np.array([False] + [True] * (len(ids) - 1))
    pieces_of = tokenizer.batch_decode([[token] for token in ids])
    keep_T = target_T & np.array([not masked or masked not in piece for piece in pieces_of])
    nll_T = np.where(target_T, 0.5, np.nan)
    row = ViewRow(
        row=3, ids_T=np.array(ids, np.int32), target_T=target_T, keep_T=keep_T, nll_T=nll_T
    )
    return TokenView(rows=[row], tokenizer=tokenizer, **options)


def printed(shown_view: TokenView, **options: Any) -> str:
    file = io.StringIO()
    shown_view.print(Console(file=file, width=80, **options))
    return file.getvalue()


def test_data_cannot_become_markup() -> None:
    page = Page(view_of(EVIL, title=EVIL, facts=[(EVIL, EVIL)]).html())
    assert page.tags["script"] == 1
    assert page.tags["img"] == 0
    assert not any(name.startswith("on") for name, _ in page.attributes)
    assert "<script>alert(1)</script>" in page.text
    assert "{{7*7}}" in page.text


@pytest.mark.parametrize("make", [TokenView.html, TokenView._repr_html_])
def test_nothing_is_fetched(make: Any) -> None:
    text = make(view_of("def add(a, b):\r\n"))
    assert not re.search(r"(https?:)?//[a-z]", text)
    assert not re.search(r"@import|url\(|<link|<iframe|\ssrc=", text)


def test_the_page_allows_its_own_script_and_no_other_thing() -> None:
    page = Page(view_of("a").html())
    policy = next(value for name, value in page.attributes if value and "default-src" in value)
    assert "default-src 'none'" in policy
    digest = re.search(r"script-src '(sha256-[^']+)'", policy)
    script = re.search(r"<script>(.*?)</script>", view_of("a").html(), re.S)
    assert digest is not None
    assert script is not None
    import base64
    import hashlib

    expected = base64.b64encode(hashlib.sha256(script[1].encode()).digest()).decode()
    assert digest[1] == f"sha256-{expected}"


def test_masked_tokens_are_struck_out_and_no_others() -> None:
    found = view_of(CODE, masked="return")
    page = Page(found.html())
    assert [text.strip() for text in page.struck] == ["return"]
    assert Page(view_of("def add").html()).struck == []
    assert ("role", "deletion") in page.attributes


def test_white_space_survives_and_is_made_visible() -> None:
    text = "a  b\tc\r\nd"
    found = view_of(text)
    page = Page(found.html())
    assert "a  b\tc\nd" in page.text, "a carriage return is only named: HTML would turn it into LF"
    assert "\r" not in found.html()
    flow = re.search(r'<div class="text flow">(.*?)</div>', found.html(), re.S)
    assert flow is not None
    assert Counter(re.findall(r'<i class="(\w+)"', flow[1])) == {"s": 2, "tab": 1, "cr": 1, "nl": 1}


def test_numbers_of_a_row_by_hand() -> None:
    row = ViewRow(
        row=3,
        ids_T=np.arange(5, dtype=np.int32),
        target_T=np.array([False, False, True, True, True]),
        keep_T=np.array([False, False, True, True, False]),
        nll_T=np.array([np.nan, np.nan, 0.0, 1.0, 5.0]),
    )
    found = shown(row, dict.fromkeys(range(5), "x"), frozenset({4}))
    assert (found.targets, found.masked) == (3, 1)
    assert found.loss_kept == pytest.approx(1 / 6)
    assert found.ppl == pytest.approx(np.exp(2.0))  # mean nll of 0, 1, 5
    assert found.ppl_kept == pytest.approx(np.exp(0.5))
    last = found.blocks[0][-1].tokens
    assert [token.masked for token in last] == [False, False, True]
    assert [token.special for token in last] == [False, False, True]
    assert last[2].title == "perplexity 148.4 · nll 5.000 · p 0.67% · masked"


@pytest.mark.parametrize(
    ("perplexity", "level"), [(1.0, 0), (1.09, 0), (2.4, 2), (2.6, 3), (9e9, 8)]
)
def test_levels_go_up_with_perplexity(perplexity: float, level: int) -> None:
    row = ViewRow(
        row=0,
        ids_T=np.array([0, 1], np.int32),
        target_T=np.array([False, True]),
        keep_T=np.array([False, True]),
        nll_T=np.array([np.nan, np.log(perplexity)]),
    )
    token = shown(row, {0: "a", 1: "b"}, frozenset()).blocks[0][-1].tokens[0]
    assert token.level == level
    assert len(EDGES) == 8


def test_rows_without_scores_are_shown_too() -> None:
    row = ViewRow(
        row=0,
        ids_T=np.array([0, 1], np.int32),
        target_T=np.array([False, True]),
        keep_T=np.array([False, False]),
        nll_T=np.full(2, np.nan),
    )
    found = TokenView(rows=[row], tokenizer=tiny_tokenizer())
    assert found.shown[0].ppl is None
    assert "data-nll" not in found.html().split("<script>")[0]
    assert "1 masked" in printed(found)


def test_ids_stand_in_where_there_is_no_tokenizer() -> None:
    row = ViewRow(
        row=0,
        ids_T=np.array([128000, 74694], np.int32),
        target_T=np.array([False, True]),
        keep_T=np.array([False, True]),
        nll_T=np.array([np.nan, 0.7]),
    )
    assert "74694" in Page(TokenView(rows=[row]).html()).text


def test_the_terminal_obeys_no_data() -> None:
    out = printed(view_of(EVIL, title=EVIL), force_terminal=True, color_system="truecolor")
    for code in re.findall(r"\x1b\[[0-9;]*[A-Za-z]", out):
        assert re.fullmatch(r"\x1b\[[0-9;]*m", code)
    assert "\x1b[31m" not in out
    assert "\x00" not in out
    assert "\u202e" not in out
    assert "␛[31m" in re.sub(r"\x1b\[[0-9;]*m", "", out)


def test_rich_markup_in_data_is_text() -> None:
    assert "[bold]x[/bold]" in printed(view_of("[bold]x[/bold]")).replace("·", "")


def test_the_terminal_strikes_out_and_a_file_gets_marks() -> None:
    found = view_of(CODE, masked="return")
    colored = printed(found, force_terminal=True, color_system="truecolor")
    struck = re.findall(r"\x1b\[[0-9;]*\b9\b[0-9;]*m([^\x1b]*)", colored)
    assert any("return" in text for text in struck)
    assert "[-·return-]" in printed(found)
    assert "row 3" in printed(found)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a", "a"),
        ("\x1b", "␛"),
        ("\x7f", "⟨U+007F⟩"),
        ("\u202e", "⟨U+202E⟩"),
        ("é€👩\u200d💻", "é€👩\u200d💻"),
    ],
)
def test_what_cannot_be_seen_is_named(text: str, expected: str) -> None:
    assert named(text) == expected


def test_pieces_lose_nothing_but_the_unseen() -> None:
    text = "a  b\t\tc\r\n\nd"
    assert "".join(piece.text for piece in pieces(text)) == text
    assert [piece.kind for piece in pieces(" a\r\n")] == ["space", "text", "cr", "newline"]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that `ppx prepare` would write, of real text under a tiny model."""
    out = tmp_path_factory.mktemp("view") / "prepared"
    tokenizer, model = tiny_tokenizer(), tiny_model("llama")
    rows = []
    for text in ("def add(a, b):\r\n    return a + b", "The answer is 42.", "x"):
        ids = tokenizer("user: go\n" + text, add_special_tokens=False)["input_ids"] + [2]
        prompt = len(tokenizer("user: go\n", add_special_tokens=False)["input_ids"])
        rows.append({"input_ids": ids, "labels": [-100] * prompt + ids[prompt:]})
    block = {"mask": {"use": "stm", "ppl_threshold": THRESHOLD}}
    found = pipeline.Tokenized(
        dataset=Dataset.from_list(rows),
        tokenizer=tokenizer,
        base=base_from_model(model),
        plan=plan.parse(block, CATALOG),
        catalog=CATALOG,
    )
    pipeline.prepare(found, out)
    return out


def test_a_prepared_folder_is_shown(
    prepared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = view.show(prepared, rows=2)
    out = capsys.readouterr().out
    assert out.count("targets ·") == 2
    assert "rows shown: 2 of 3" in out
    assert "mask: stm, ppl_threshold 200.0" in out
    dataset = pipeline.load_prepared(prepared).dataset
    for row, labels in zip(found.rows, dataset["labels"][:2], strict=True):
        assert row.keep_T.tolist() == [label != -100 for label in labels]
        assert (row.keep_T | (row.nll_T > np.log(THRESHOLD)))[row.target_T].all()
        assert not np.isnan(row.nll_T[row.target_T]).any()
        assert set(row.ids_T[-1:].tolist()) == ENDS
    page = tmp_path / "new" / "mask.html"
    view.show(prepared, rows=3, html=page)
    assert str(page) in capsys.readouterr().out
    assert Page(page.read_text()).tags["article"] == 3
    assert not list(page.parent.glob("*.tmp"))
    assert view.read(prepared, rows=1)._repr_html_().count("<article>") == 1


def test_a_folder_that_is_not_prepared_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=str(tmp_path)):
        view.show(tmp_path, rows=1)

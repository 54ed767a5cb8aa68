"""The record of a mask, worked out by hand."""

from __future__ import annotations

import json
import math
import time
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer, decoders
from tokenizers.models import WordLevel
from transformers import PreTrainedTokenizerFast

from ppx_ext.contracts import Example, Scored
from ppx_ext.statistics import BANDS, KINDS, kind_of, nll_of, tally, token_texts
from tests.models import tiny_tokenizer

WORDS = ["a", "</s>", "def", " \r\n", "):\n", " (", "7", "  ", "x_1"]
EOS, DEF, CRLF, COLON, PAREN, SEVEN, SPACES, NAME = range(1, 9)


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    """Nine words as they are, joined without spaces."""
    core = Tokenizer(WordLevel({word: token for token, word in enumerate(WORDS)}, unk_token="a"))
    core.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(tokenizer_object=core, eos_token="</s>")


def scored(
    row: int, ids: list[int], prompt: int, nll: list[float] | None, name: str = "nll"
) -> Scored:
    ids_T = np.array(ids, dtype=np.int32)
    target_T = np.arange(len(ids)) >= prompt
    example = Example(row=row, ids_T=ids_T, target_T=target_T, end_T=target_T & (ids_T == EOS))
    return Scored(example=example, scores={} if nll is None else {name: np.array(nll)})


def rows() -> list[tuple[Scored, Any]]:
    first = scored(
        4, [0, 0, DEF, PAREN, CRLF, SEVEN, COLON, EOS], 2, [1.0, 2.0, 4.0, 0.5, 0.5, 0.0]
    )
    second = scored(9, [0, DEF, SPACES], 1, [3.0, 1.0])
    return [
        (first, np.array([True, False, False, True, True, True])),
        (second, np.array([False, False])),
    ]


def test_every_number_by_hand(tokenizer: PreTrainedTokenizerFast) -> None:
    found = tally(rows(), tokenizer=tokenizer, state={"nll_threshold": math.log(2.7)})
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert (found["rows"], found["targets"], found["masked"]) == (2, 8, 4)
    assert found["masked_share"] == 0.5
    # Kept: 1.0 + 0.5 + 0.5 + 0.0 of 12 nats.
    assert found["loss_kept"] == pytest.approx(2 / 12)
    kinds = found["by_kind"]
    assert tuple(kinds) == KINDS
    assert {kind: (cell["targets"], cell["masked"]) for kind, cell in kinds.items()} == {
        "word": (2, 1),
        "punctuation": (1, 1),
        "whitespace": (1, 1),
        "newline": (2, 1),
        "digit": (1, 0),
        "special": (1, 0),
        "other": (0, 0),
    }
    assert kinds["word"]["masked_rate"] == 0.5
    assert kinds["word"]["share_of_masked"] == 0.25
    assert kinds["word"]["share_of_masked_loss"] == pytest.approx(3 / 10)
    assert found["carriage_returns"]["masked"] == 1
    assert found["carriage_returns"]["share_of_masked_loss"] == pytest.approx(4 / 10)
    bands = found["by_position"]
    assert tuple(bands) == BANDS
    assert [(bands[band]["targets"], bands[band]["masked"]) for band in BANDS] == [
        (5, 4),
        (3, 0),
        (0, 0),
        (0, 0),
    ]
    assert [
        (t["id"], t["text"], t["masked"], t["targets"], t["rate"]) for t in found["most_masked"]
    ] == [
        (DEF, "def", 1, 2, 0.5),
        (CRLF, " \r\n", 1, 1, 1.0),
        (PAREN, " (", 1, 1, 1.0),
        (SPACES, "  ", 1, 1, 1.0),
    ]
    assert found["few_targets"] == {"below": 5, "rows": 1, "first": [4]}
    assert found["no_targets"] == {"rows": 1, "first": [9]}
    # Perplexities e and e are within 1 % of 2.7, as exp(1) = 2.718.
    assert found["near_threshold"] == 2


def test_positions_count_within_each_turn(tokenizer: PreTrainedTokenizerFast) -> None:
    target_T = np.array([False, *[True] * 4, False, *[True] * 33, False, *[True] * 90])
    ids_T = np.full(len(target_T), DEF, dtype=np.int32)
    example = Example(row=0, ids_T=ids_T, target_T=target_T, end_T=np.zeros_like(target_T))
    targets = int(target_T.sum())
    row = Scored(example=example, scores={"nll": np.ones(targets)})
    two = [(row, np.ones(targets, dtype=np.bool_))] * 2
    bands = tally(two, tokenizer=tokenizer, state={})["by_position"]
    # Turns of 4, 33 and 90 targets, twice.
    assert [bands[band]["targets"] for band in BANDS] == [18, 2 * (1 + 28 + 28), 2 * (2 + 49), 20]


def test_chunks_play_no_part(
    tokenizer: PreTrainedTokenizerFast, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ppx_ext import statistics

    state = {"nll_threshold": 1.0}
    whole = tally(rows() * 20, tokenizer=tokenizer, state=state)
    monkeypatch.setattr(statistics, "_CHUNK_TARGETS", 3)
    assert tally(iter(rows() * 20), tokenizer=tokenizer, state=state) == whole
    assert whole["no_targets"] == {"rows": 20, "first": [9] * 10}


def test_a_users_perplexity_is_read_and_other_scores_say_nothing_of_the_loss(
    tokenizer: PreTrainedTokenizerFast,
) -> None:
    own = scored(0, [0, DEF, DEF], 1, [math.e, math.e**3], name="perplexity")
    assert nll_of(own) == pytest.approx([1.0, 3.0])
    found = tally([(own, np.array([True, False]))], tokenizer=tokenizer, state={})
    assert found["loss_kept"] == pytest.approx(0.25)
    other = scored(0, [0, DEF, DEF], 1, [1.0, 2.0], name="entropy")
    assert nll_of(other) is None
    found = tally([(other, np.array([True, False]))], tokenizer=tokenizer, state={})
    assert found["loss_kept"] is None
    assert found["by_kind"]["word"]["share_of_masked_loss"] is None
    assert found["masked"] == 1


def test_no_rows_at_all(tokenizer: PreTrainedTokenizerFast) -> None:
    found = tally([], tokenizer=tokenizer, state={"nll_threshold": None})
    assert (found["rows"], found["targets"], found["masked_share"]) == (0, 0, 0.0)
    assert found["near_threshold"] is None


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (" foo", "word"),
        ("_", "word"),
        ("(self", "word"),
        ("été", "word"),
        ("):\r\n", "newline"),
        ("\n", "newline"),
        (" ", "whitespace"),
        ("\t\t", "whitespace"),
        (" 42", "digit"),
        ("+=", "punctuation"),
        ("€", "punctuation"),
        ("3.", "other"),
        ("", "other"),
    ],
)
def test_kinds(text: str, kind: str) -> None:
    assert kind_of(text) == kind


def test_texts_of_tokens_keep_their_spaces_and_join_to_the_text() -> None:
    tokenizer = tiny_tokenizer()
    text = "def add(a, b):\r\n    return  a\tfor x in range"
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert "".join(token_texts(tokenizer, ids)) == text


def test_texts_where_the_decoder_strips_a_leading_space() -> None:
    core = Tokenizer(WordLevel({"a": 0, "▁b": 1, "▁": 2}, unk_token="a"))
    core.decoder = decoders.Metaspace()
    stripping = PreTrainedTokenizerFast(tokenizer_object=core)
    assert stripping.decode([1]) == "b"
    assert token_texts(stripping, [1, 0, 2]) == [" b", "a", " "]


def test_a_byte_of_a_longer_character_is_shown_as_its_piece() -> None:
    tokenizer = tiny_tokenizer()
    first = tokenizer("é", add_special_tokens=False)["input_ids"][0]
    assert token_texts(tokenizer, [first]) == tokenizer.convert_ids_to_tokens([first])


def test_a_million_tokens_take_seconds() -> None:
    random = np.random.default_rng(0)
    tokenizer = tiny_tokenizer()
    many = []
    for row in range(5000):
        ids = random.integers(3, len(tokenizer), 270).tolist()
        many.append((scored(row, ids, 70, random.random(200).tolist()), random.random(200) < 0.8))
    started = time.process_time()
    found = tally(many, tokenizer=tokenizer, state={"nll_threshold": 0.9})
    assert found["targets"] == 1_000_000
    assert time.process_time() - started < 5

"""Rows that begin alike: laid as a tree, computed once, scored as if each were alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ppx_ext.scoring import SCORES, packing, token_scores, tree, varlen
from ppx_ext.scoring.packing import Route
from ppx_ext.scoring.tree import Segment
from tests.core.scored_models import assert_close
from tests.models import ARCHITECTURES, VOCAB_SIZE, WINDOW, tiny_model
from tests.reference.naive import naive_scores

FLAT = Route(True, True)
SHARED = Route(True, True, True)


@pytest.fixture(scope="module")
def llama() -> Any:
    return tiny_model("llama")


def array(*tokens: int) -> Any:
    return np.array(tokens, np.int32)


def test_hand_made_tree(monkeypatch: Any) -> None:
    monkeypatch.setattr(tree, "FEWEST_SHARED", 2)
    documents = [
        array(5, 6, 7, 1, 1),
        array(5, 6, 7, 1, 2, 2),
        array(5, 6, 8),
        array(5, 6, 7, 1),
        array(5, 9, 9),
    ]
    (group,) = tree.plan(documents, budget=99)
    assert group == [1, 3, 0, 2, 4]  # the longest, what is nearest to it, ties in sorted order
    # Row: 5 6 7 1 2 2 | nothing new | 1 | 8 | 5 9 9 (a single shared token is too few)
    assert tree.lay([documents[i] for i in group], shared=True) == [
        Segment((), (0, 6)),
        Segment(((0, 4),), (6, 6)),
        Segment(((0, 4),), (6, 7)),
        Segment(((0, 2),), (7, 8)),
        Segment((), (8, 11)),
    ]


def test_a_branch_of_a_branch_is_found_in_pieces(monkeypatch: Any) -> None:
    monkeypatch.setattr(tree, "FEWEST_SHARED", 2)
    documents = [array(1, 2, 3, 3, 3, 3), array(1, 2, 4, 5, 6), array(1, 2, 4, 5, 7)]
    assert tree.lay(documents, shared=True) == [
        Segment((), (0, 6)),
        Segment(((0, 2),), (6, 9)),
        Segment(((0, 2), (6, 8)), (9, 10)),
    ]
    assert [segment.own for segment in tree.lay(documents, shared=False)] == [
        (0, 6),
        (6, 11),
        (11, 16),
    ]


def test_cuts_leave_the_fewest_tokens() -> None:
    prompts = [np.full(40, token) for token in (1, 2)]
    documents = [np.append(prompt, np.full(10, own)) for prompt in prompts for own in (5, 6, 7)]
    # Two trees of 70. A greedy fill would put the first of the second tree with the first one.
    assert tree.plan(documents, budget=120) == [[0, 1, 2], [3, 4, 5]]
    assert tree.plan(documents, budget=140) == [[0, 1, 2, 3, 4, 5]]


@st.composite
def forests(draw: Any) -> list[Any]:
    """Documents that grow out of each other: cut one anywhere, go on with other tokens."""
    rng = np.random.default_rng(draw(st.integers(0, 999)))
    documents = [rng.integers(3, VOCAB_SIZE, draw(st.integers(1, 60))).astype(np.int32)]
    for _ in range(draw(st.integers(0, 7))):
        parent = documents[draw(st.integers(0, len(documents) - 1))]
        kept = parent[: draw(st.integers(0, len(parent)))]
        rest = rng.integers(3, VOCAB_SIZE, draw(st.integers(0 if len(kept) else 1, 20)))
        documents.append(np.concatenate([kept, rest]).astype(np.int32))
    return documents


@settings(max_examples=150, deadline=None)
@given(documents=forests(), budget=st.integers(1, 200))
def test_every_document_is_found_in_its_places(llama: Any, documents: Any, budget: int) -> None:
    groups = tree.plan(documents, budget=budget)
    assert sorted(i for group in groups for i in group) == list(range(len(documents)))
    for group in groups:
        laid = [documents[i] for i in group]
        batch = packing.make_batch(llama, laid, SHARED)
        row, positions = (batch.inputs[name][0].numpy() for name in ("input_ids", "position_ids"))
        assert len(row) <= budget or len(group) == 1
        assert len(laid[0]) == max(map(len, laid))
        assert batch.segments[0].past == ()
        for place, document in enumerate(laid):
            np.testing.assert_array_equal(row[batch.places(place)], document)
            np.testing.assert_array_equal(positions[batch.places(place)], np.arange(len(document)))
        # Nothing long is computed twice: any two documents share what they begin with.
        for one in range(len(laid)):
            for other in range(one):
                common = tree.common_to(laid[one], laid[other])
                if common >= tree.FEWEST_SHARED:
                    same = batch.places(one)[:common] == batch.places(other)[:common]
                    assert same[: common - tree.FEWEST_SHARED].all()


@settings(max_examples=40, deadline=None)
@given(documents=forests(), budget=st.integers(1, 200), seed=st.integers(0, 9))
def test_any_grouping_scores_as_one_by_one(
    llama: Any, documents: Any, budget: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    targets = [rng.random(len(document)) < 0.5 for document in documents]
    for target_T in targets:
        target_T[0] = False
    names = ("nll", "entropy")  # ranks of near ties may differ
    alone = [
        token_scores(llama, [document], [target_T], names=names)[0]
        for document, target_T in zip(documents, targets, strict=True)
    ]
    together = token_scores(llama, documents, targets, names=names, batch_tokens=budget)
    assert_close(together, alone, atol=1e-5)


def answers_to_prompts() -> tuple[list[Any], list[Any]]:
    """A system prompt, two prompts longer than any window, four answers each that begin alike."""
    rng = np.random.default_rng(0)
    system, opening = rng.integers(3, 200, 20), rng.integers(3, 200, 5)
    ids, targets = [], []
    for _ in range(2):
        prompt = rng.integers(3, 200, 3 * WINDOW)
        for length in (3, 9, 30, 2 * WINDOW):
            answer = np.concatenate([opening, rng.integers(3, 200, length)])
            ids.append(np.concatenate([system, prompt, answer]).astype(np.int32))
            targets.append(np.arange(len(ids[-1])) >= len(ids[-1]) - len(answer))
    return ids, targets


CASES = [(arch, impl) for arch in ARCHITECTURES for impl in ("eager", "sdpa")]
CASES.remove(("gemma2", "sdpa"))  # refused by newer transformers, uncapped on older ones


@pytest.mark.parametrize(("arch", "attention"), CASES)
def test_shared_equals_unshared_and_the_naive_loop(arch: str, attention: str) -> None:
    model = tiny_model(arch, vocab_size=200, attn_implementation=attention)
    ids, targets = answers_to_prompts()
    assert packing.route_of(model) == SHARED
    for budget in (None, 130):
        packing._ROUTES[model][attention] = FLAT
        flat = token_scores(model, ids, targets, names=SCORES, batch_tokens=budget)
        packing._ROUTES[model][attention] = SHARED
        shared = token_scores(model, ids, targets, names=SCORES, batch_tokens=budget)
        assert_close(shared, flat)
    assert_close(shared, naive_scores(model, ids, targets))


def test_what_rows_begin_with_goes_through_the_model_once() -> None:
    model = tiny_model("llama", vocab_size=200)
    ids, targets = answers_to_prompts()
    packing.route_of(model)
    seen: list[int] = []
    model.model.embed_tokens.register_forward_hook(
        lambda _, given, __: seen.append(len(given[0][0]))
    )
    token_scores(model, ids, targets)
    answers = sum(int(t.sum()) - 5 - 1 for t in targets)  # the last token is no input
    assert seen == [20 + 2 * (3 * WINDOW + 5) + answers]


def test_a_pair_of_place_and_target_meets_the_head_once() -> None:
    model = tiny_model("llama", vocab_size=200)
    ids, targets = answers_to_prompts()
    packing.route_of(model)
    rows: list[int] = []
    model.lm_head.register_forward_hook(lambda *given: rows.append(given[2].shape[1]))
    token_scores(model, ids, targets)
    assert sum(rows) == sum(int(t.sum()) for t in targets) - 2 * 3 * 5


def test_rows_with_other_targets_are_not_taken_for_copies(llama: Any) -> None:
    ids = [np.arange(3, 43, dtype=np.int32)] * 2
    targets = [np.arange(40) >= 30, np.arange(40) >= 20]
    few, many = token_scores(llama, ids, targets)
    assert (len(few["nll"]), len(many["nll"])) == (10, 20)
    np.testing.assert_array_equal(few["nll"], many["nll"][10:])


@pytest.mark.parametrize("arch", ["llama", "mistral"])
def test_half_precision_shares_too(arch: str) -> None:
    ids, targets = answers_to_prompts()
    exact = token_scores(tiny_model(arch, vocab_size=200), ids, targets)
    half = tiny_model(arch, vocab_size=200, dtype=torch.bfloat16)
    assert packing.route_of(half) == SHARED
    found = token_scores(half, ids, targets)
    errors = [abs(one["nll"] - other["nll"]) for one, other in zip(found, exact, strict=True)]
    assert np.concatenate(errors).mean() < 0.05


@pytest.mark.parametrize("mistake", ["blind", "off by one", "leak"])
def test_attention_that_gets_the_tree_wrong_is_found(mistake: str, monkeypatch: Any) -> None:
    """Such a model is scored without sharing, and right."""
    corner, along = varlen._corner, varlen._along

    def shifted(layout: Any, segment: Any, mask: Any, *, like: Any) -> Any:
        right = corner(layout, segment, mask, like=like)
        return right if right is None else right.roll(1, -1)

    def blind(segment: Any, states: Any) -> Any:
        found = along(segment, states)
        found[:, :, : segment.seen] = 0
        return found

    def leaky(segment: Any, states: Any) -> Any:
        found = along(segment, states)
        if segment.seen:
            found[:, :, 0] = states[:, :, segment.own[0] - 1]
        return found

    name, wrong = {
        "blind": ("_along", blind),
        "off by one": ("_corner", shifted),
        "leak": ("_along", leaky),
    }[mistake]
    monkeypatch.setattr(varlen, name, wrong)
    model = tiny_model("llama", vocab_size=200)
    ids, targets = answers_to_prompts()
    found = token_scores(model, ids, targets)
    assert packing.route_of(model) == FLAT
    assert_close(found, [{"nll": row["nll"]} for row in naive_scores(model, ids, targets)])


def test_flash_attention_does_not_share() -> None:
    model = tiny_model("llama", vocab_size=200)
    model.config._attn_implementation_internal = "flash_attention_2"
    assert not packing._may_be(SHARED, model)
    assert packing._may_be(FLAT, model)

"""The masks: each is a rule for "too hard", and one way of turning it into kept targets."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ppx_ext import Mask, Need, Scored
from ppx_stm.quantile import upper_quantile
from ppx_stm.settings import (
    DpfSettings,
    StmDpfSettings,
    StmSettings,
    _MaskSettings,
)

if TYPE_CHECKING:
    import numpy.typing as npt

    Bools = npt.NDArray[np.bool_]
    Float64s = npt.NDArray[np.float64]

PAPER = "arXiv 2501.14315"
_NEWLINE = re.compile(r"\r\n?")
_LINE_END = re.compile(r"[ \t]+(?=[\r\n]|\Z)")
_EXP_LIMIT = 700.0


def base_scores(settings: _MaskSettings, scored: Scored) -> Float64s:
    """The base's scores of a row, float64 (R,), in the unit they go by."""
    # float64 before any comparison: NumPy would round the threshold to a float16 score's type.
    return np.asarray(scored.scores[settings.score_name], dtype=np.float64)


def maskable(settings: _MaskSettings, scored: Scored) -> Bools:
    """Targets that may be masked at all, bool (R,): all but the ends of turns."""
    targets = int(scored.example.target_T.sum())
    if settings.mask_end_of_turn:
        return np.ones(targets, dtype=np.bool_)
    return ~scored.example.end_T[scored.example.target_T]


def spare(settings: _MaskSettings, scored: Scored, hard_R: Bools) -> Bools:
    """Kept targets where ``hard_R`` are to go: ends of turns and ``min_kept_tokens`` stay."""
    keep_R = ~(hard_R & maskable(settings, scored))
    missing = min(settings.min_kept_tokens, len(keep_R)) - int(keep_R.sum())
    if missing > 0:
        masked = np.flatnonzero(~keep_R)
        order = np.argsort(base_scores(settings, scored)[masked], kind="stable")
        keep_R[masked[order[:missing]]] = True
    return keep_R


def line_of(settings: StmSettings, state: Mapping[str, Any]) -> float:
    """The score above which a target is masked, in the unit of the scores."""
    if settings.mask_fraction is not None:
        return float(state["threshold"])
    assert settings.ppl_threshold is not None
    return _in_unit(settings.ppl_threshold, settings.score_name)


def _in_unit(ppl_threshold: float, unit: str) -> float:
    return ppl_threshold if unit == "perplexity" else math.log(ppl_threshold)


def _keep_stm(
    settings: StmSettings, state: Mapping[str, Any], scored: Scored, rng: np.random.Generator
) -> Bools:
    # Section 3: mask where ppl > tau. A token at the line itself is kept.
    return spare(settings, scored, base_scores(settings, scored) > line_of(settings, state))


def _fit_stm(settings: StmSettings, scored: Iterable[Scored]) -> dict[str, Any]:
    if settings.mask_fraction is None:
        assert settings.ppl_threshold is not None
        return _line_state(settings.ppl_threshold)
    rows = ((base_scores(settings, row), maskable(settings, row)) for row in scored)
    found = upper_quantile(rows, settings.mask_fraction)
    nll = found.line if settings.score_name == "nll" else math.log(found.line)
    return {
        "threshold": found.line,
        "nll_threshold": nll,
        "ppl_threshold": math.exp(min(nll, _EXP_LIMIT)),
        "targets": found.total,
        "share_above": found.above / found.total if found.total else 0.0,
        "tied_at_threshold": found.tied,
    }


def _line_state(ppl_threshold: float) -> dict[str, Any]:
    # JSON has no infinity: no line at all is said by null.
    finite = math.isfinite(ppl_threshold)
    return {
        "nll_threshold": math.log(ppl_threshold) if finite else None,
        "ppl_threshold": ppl_threshold if finite else None,
    }


def _keep_random(
    settings: StmSettings, state: Mapping[str, Any], scored: Scored, rng: np.random.Generator
) -> Bools:
    # The authors draw with replacement, over prompt positions too, and count prompt tokens in;
    # a control of equal strength needs the same count among the same tokens.
    count = int((~_keep_stm(settings, state, scored, rng)).sum())
    keep_R = np.ones(int(scored.example.target_T.sum()), dtype=np.bool_)
    keep_R[rng.choice(np.flatnonzero(maskable(settings, scored)), size=count, replace=False)] = (
        False
    )
    return keep_R


def _keep_lowest(
    settings: StmSettings, state: Mapping[str, Any], scored: Scored, rng: np.random.Generator
) -> Bools:
    keep_R = _keep_stm(settings, state, scored, rng)
    candidates = np.flatnonzero(maskable(settings, scored))
    order = np.argsort(base_scores(settings, scored)[candidates], kind="stable")
    return _all_but(candidates[order[: int((~keep_R).sum())]], len(keep_R))


def _all_but(masked: npt.NDArray[np.int64], targets: int) -> Bools:
    keep_R = np.ones(targets, dtype=np.bool_)
    keep_R[masked] = False
    return keep_R


def ppl_rise(nll_base_R: Float64s, nll_tuned_R: Float64s) -> Float64s:
    """``ppl_tuned - ppl_base`` (appendix G) of each target.

    Written ``ppl_base * (exp(nll_tuned - nll_base) - 1)``: right in sign and free of cancellation.
    """
    with np.errstate(over="ignore"):
        base = np.exp(np.minimum(nll_base_R, _EXP_LIMIT))
        return np.asarray(base * np.expm1(nll_tuned_R - nll_base_R))


def _risen(settings: DpfSettings, scored: Scored) -> Bools:
    nll_tuned_R = np.asarray(scored.scores["nll_tuned"], dtype=np.float64)
    return ppl_rise(_base_nll(settings, scored), nll_tuned_R) > settings.dpf_threshold


def _base_nll(settings: _MaskSettings, scored: Scored) -> Float64s:
    scores_R = base_scores(settings, scored)
    return scores_R if settings.score_name == "nll" else np.log(scores_R)


def _keep_dpf(
    settings: DpfSettings, state: Mapping[str, Any], scored: Scored, rng: np.random.Generator
) -> Bools:
    return spare(settings, scored, _risen(settings, scored))


def _keep_stm_dpf(
    settings: StmDpfSettings, state: Mapping[str, Any], scored: Scored, rng: np.random.Generator
) -> Bools:
    line = _in_unit(settings.ppl_threshold, settings.score_name)
    hard_R = base_scores(settings, scored) > line
    return spare(settings, scored, hard_R | _risen(settings, scored))


def _edit_text(settings: _MaskSettings, text: str) -> str:
    if settings.normalize_newlines:
        text = _NEWLINE.sub("\n", text)
    return _LINE_END.sub("", text) if settings.strip_line_ends else text


def _base_only(settings: StmSettings) -> list[Need]:
    return [settings.base_need()]


def _base_and_tuned(settings: DpfSettings) -> list[Need]:
    return [settings.base_need(), settings.tuned_need()]


def _no_state(settings: DpfSettings, scored: Iterable[Scored]) -> dict[str, Any]:
    return {}


def _fit_stm_dpf(settings: StmDpfSettings, scored: Iterable[Scored]) -> dict[str, Any]:
    return _line_state(settings.ppl_threshold)


def _never(settings: _MaskSettings) -> bool:
    return False


def _online(settings: StmSettings) -> bool:
    made_before = (settings.mask_fraction, settings.scoring_model, settings.scores_from)
    return all(setting is None for setting in made_before)


STM = Mask(
    name="stm",
    paper=PAPER,
    settings=StmSettings,
    needs=_base_only,
    fit=_fit_stm,
    keep=_keep_stm,
    edit_text=_edit_text,
    online=_online,
)
RANDOM = Mask(
    name="random",
    paper=PAPER,
    settings=StmSettings,
    needs=_base_only,
    fit=_fit_stm,
    keep=_keep_random,
    edit_text=_edit_text,
    online=_never,
)
LOWEST = Mask(
    name="lowest",
    paper=PAPER,
    settings=StmSettings,
    needs=_base_only,
    fit=_fit_stm,
    keep=_keep_lowest,
    edit_text=_edit_text,
    online=_online,
)
DPF = Mask(
    name="dpf",
    paper=PAPER,
    settings=DpfSettings,
    needs=_base_and_tuned,
    fit=_no_state,
    keep=_keep_dpf,
    edit_text=_edit_text,
    online=_never,
)
STM_DPF = Mask(
    name="stm_dpf",
    paper=PAPER,
    settings=StmDpfSettings,
    needs=_base_and_tuned,
    fit=_fit_stm_dpf,
    keep=_keep_stm_dpf,
    edit_text=_edit_text,
    online=_never,
)

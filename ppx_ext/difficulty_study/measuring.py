"""What is measured on a model: solved problems, losses, the two gaps, and how far it has moved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ppx_ext.difficulty_study.training import pair
from ppx_ext.problems import final_answer

Rows = Sequence[Mapping[str, Any]]

_TOKENS_OF_STEP = 13
_TOKENS_OF_END = 8


@dataclass(frozen=True, kw_only=True)
class Gaps:
    """The two gaps of arXiv 2605.12906, proposition 4.1, as differences of losses (nats).

    Attributes:
        generalization: own - train: test loss on the training distribution less training loss.
        extrapolation: test - own: test loss on the test distribution less the former's.
    """

    generalization: float
    extrapolation: float


def gaps(*, train: float, own: float, test: float) -> Gaps:
    """Of three mean losses: on training rows, on new rows like them, on the whole test set."""
    return Gaps(generalization=own - train, extrapolation=test - own)


def total_variation(a: Mapping[int, float], b: Mapping[int, float]) -> float:
    """Half the summed absolute differences of two histograms, each scaled to sum 1; 0 to 1."""
    sum_a, sum_b = sum(a.values()), sum(b.values())
    keys = a.keys() | b.keys()
    return sum(abs(a.get(k, 0) / sum_a - b.get(k, 0) / sum_b) for k in sorted(keys)) / 2


def losses(model: Any, tokenizer: Any, rows: Rows) -> list[float]:
    """Mean nll (nats a token) of each row's solution, end included, under ``model``."""
    from ppx_ext.contracts import Example
    from ppx_ext.scoring import token_scores
    from ppx_ext.tokens import tokenize

    found = tokenize(enumerate(map(pair, rows)), tokenizer, max_length=tokenizer.model_max_length)
    examples = [example for example in found if isinstance(example, Example)]
    if len(examples) < len(rows):
        raise ValueError(f"{len(rows) - len(examples)} problems do not fit into the model's window")
    scores = token_scores(
        model, [one.ids_T for one in examples], [one.target_T for one in examples]
    )
    return [float(score["nll"].mean()) for score in scores]


def respond(model: Any, tokenizer: Any, rows: Rows) -> list[str]:
    """Greedy responses."""
    from ppx_ext.evaluation import generate_greedy

    longest = max(row["ops"] for row in rows)
    return generate_greedy(
        model,
        tokenizer,
        [row["prompt"] for row in rows],
        max_new_tokens=_TOKENS_OF_STEP * longest + _TOKENS_OF_END,
        batch_size=len(rows),
    )


def solved(row: Mapping[str, Any], response: str) -> bool:
    """Whether every step and the answer are right: the solution, but for blanks.

    The text alone decides the order of the steps, so that a problem has one solution.
    """
    return "".join(response.split()) == "".join(row["response"].split())


def answered(row: Mapping[str, Any], response: str) -> bool:
    """Whether the final answer is right; a guess is, one time in ``modulus``."""
    answer = final_answer(" ".join(response.split()))
    return answer is not None and str(answer) == row["answer"]


def measure_slices(
    model: Any, tokenizer: Any, test: Mapping[int, Rows], bands: Sequence[Sequence[int]]
) -> dict[str, Any]:
    """Of each slice: ``solved`` and ``answered`` (0 or 1 an item), ``nll`` (an item, nats).

    Slices of one band are asked together, which is quicker.
    """
    found: dict[str, Any] = {}
    for band in bands:
        rows = [row for ops in band for row in test[ops]]
        texts = iter(respond(model, tokenizer, rows))
        nll = iter(losses(model, tokenizer, rows))
        for ops in band:
            pairs = [(row, next(texts)) for row in test[ops]]
            found[str(ops)] = {
                "solved": [int(solved(row, text)) for row, text in pairs],
                "answered": [int(answered(row, text)) for row, text in pairs],
                "nll": [next(nll) for _ in pairs],
            }
    return found


def update_norm(before: Mapping[str, Any], after: Mapping[str, Any]) -> float:
    """L2 norm of all weight changes."""
    total = sum(
        float((after[name].detach().double() - weight.double()).square().sum())
        for name, weight in before.items()
    )
    return float(total**0.5)

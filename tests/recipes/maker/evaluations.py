"""The `eval:` block of each target: the papers' own other tasks, and the target beside them."""

from __future__ import annotations

from tests.recipes.maker.facts import GSM8K, MATH, MBPP, NQ, OPENSCIENCE, Data

Lines = tuple[str, ...]

# lm-eval holds the logits of a whole batch: tens of GB of long prompts and large vocabularies at
# the suite's own 32.

MEASURED_S3FT = (
    "Measured: the target greedily, and the paper's four other tasks by lm-eval's own rules; which "
    "harness and how many examples in the prompt the paper had is not published."
)
MEASURED_STM = {
    "mbpp": "Measured: MBPP with MBPP+'s 378 tasks and the authors' prompt, in a sandbox; ARC, "
    "GSM8K, MATH and IFEval by lm-eval's own rules. The authors have prompts of their own for "
    "these, 1,000 problems of MATH, and BIRD.",
    "math": "Measured: MATH on the authors' 1,000 problems with their prompt, judged by `math` in "
    "place of GPT-4o-mini; MBPP with MBPP+'s 378 tasks in a sandbox; ARC, GSM8K and IFEval by "
    "lm-eval's own rules. The authors have prompts of their own for these, and BIRD.",
}
_GATE = "  gate: {max_drop: 2.0, on_breach: warn} # points, averaged over the other tasks"


def _block(*suites: str, every: str = "") -> Lines:
    body = [f"    {line}" for suite in suites for line in suite.split("\n")]
    return ("eval:", "  suites:", *body, *([f"  every: {every}"] if every else []), _GATE)


_MBPP = "- {use: code, tasks: {%s: {target: true}}}"
_MATH = (
    "- use: tasks\n"
    "  tasks:\n"
    "    math: {path: data/math/test.jsonl, prompt: messages, answer: gold_solution,\n"
    "      judge: math, target: true}\n"
    "  max_new_tokens: 512"
)
_GSM8K = (
    "- use: tasks\n"
    "  tasks:\n"
    "    gsm8k: {path: data/gsm8k/test.jsonl, prompt: messages, answer: final_answer,\n"
    "      judge: math, target: true%s}\n"
    "  max_new_tokens: 512"
)
_NQ = (
    "- use: tasks\n"
    "  tasks:\n"
    "    nq: {path: data/nq/test.jsonl, prompt: messages, answer: answers,\n"
    "      judge: {use: qa, metric: f1, threshold: 0.5}, target: true}\n"
    "  max_new_tokens: 128"
)
_MATH500 = (
    "- use: tasks\n"
    "  tasks:\n"
    "    math500: {path: HuggingFaceH4/MATH-500, prompt: problem, judge: math, target: true}\n"
    "  max_new_tokens: %s"
)


def of_stm(data: Data) -> Lines:
    """arXiv 2501.14315: MBPP, MATH, ARC, GSM8K and IFEval."""
    if data is MBPP:
        return _block(
            _MBPP % "mbpp_plus",
            "- {use: lm_eval, sets: [stm], batch_size: 16} # ARC, GSM8K, MATH, IFEval",
        )
    assert data is MATH
    others = "- {use: lm_eval, tasks: [arc_challenge, gsm8k, ifeval], batch_size: 16}"
    return _block(_MATH, others, "- {use: code, tasks: [mbpp_plus]}")


def of_s3ft(data: Data) -> Lines:
    """arXiv 2502.08130: MMLU, TruthfulQA, HellaSwag and Winogrande."""
    target = {GSM8K.key: _GSM8K % "", MBPP.key: _MBPP % "mbpp", NQ.key: _NQ}[data.key]
    others = (
        "- {use: lm_eval, sets: [s3ft], batch_size: 8} # MMLU, TruthfulQA, HellaSwag, Winogrande"
    )
    return _block(target, others)


def of_difficulty(data: Data, new_tokens: int) -> Lines:
    """arXiv 2605.12906 measures the target alone; the others are those of arXiv 2502.08130."""
    if data is OPENSCIENCE:
        tasks = "[{name: mmlu, target: true}, truthfulqa_mc2, hellaswag, winogrande]"
        return _block(f"- use: lm_eval\n  tasks: {tasks}\n  batch_size: 8")
    return _block(_MATH500 % new_tokens, "- {use: lm_eval, sets: [s3ft], batch_size: 8}")


def small(data: Data) -> Lines:
    """A few hundred items, to be measured after each epoch."""
    small_card = f"{_GSM8K % ', limit: 200'}\n  batch_size: 8"
    target = {GSM8K.key: small_card, MBPP.key: _MBPP % "mbpp"}[data.key]
    others = (
        "- {use: lm_eval, tasks: [arc_challenge, ifeval, hellaswag], limit: 200, batch_size: 8}"
    )
    return _block(target, others, every="epoch")

"""Models, data sets, and what the papers print; every number is from the papers' own tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

STM = "arXiv 2501.14315"
DIFFICULTY = "arXiv 2605.12906"
S3FT = "arXiv 2502.08130"


@dataclass(frozen=True, kw_only=True)
class Model:
    """A model, and what its tokenizer asks of a recipe.

    Attributes:
        hub: its id.
        name: how people call it.
        billions: of parameters.
        gated: whether its licence is accepted on the hub first.
        was_gated: whether it was so once, so that it may be.
        attention: that it is trained with; None where the paper or the host decides.
        pad: token that pads; None where the tokenizer has one that is not its end of sequence.
        eos: end of sequence to set, where the tokenizer's own is not what ends a turn.
        end_of_turn: what ends a turn in the template, where it is not the end of sequence.
    """

    hub: str
    name: str
    billions: float
    gated: bool = False
    was_gated: bool = False
    attention: str | None = None
    pad: str | None = None
    eos: str | None = None
    end_of_turn: str | None = None

    @property
    def folder(self) -> str:
        """Name of its recipes' folder."""
        return self.hub.partition("/")[2].lower()


GEMMA_2B = Model(
    hub="google/gemma-2-2b-it",
    name="Gemma-2-2B-it",
    billions=2.6,
    gated=True,
    attention="eager",
    end_of_turn="<end_of_turn>",
)
GEMMA_9B = Model(
    hub="google/gemma-2-9b-it",
    name="Gemma-2-9B-it",
    billions=9.2,
    gated=True,
    attention="eager",
    end_of_turn="<end_of_turn>",
)
LLAMA_3_8B = Model(
    hub="meta-llama/Meta-Llama-3-8B-Instruct",
    name="Llama-3-8B-Instruct",
    billions=8.0,
    gated=True,
    pad="<|end_of_text|>",
    end_of_turn="<|eot_id|>",
)
MISTRAL_3 = Model(
    hub="unsloth/mistral-7b-instruct-v0.3",
    name="Mistral-7B-Instruct-v0.3",
    billions=7.2,
    pad="<unk>",
)
OLMO_2 = Model(
    hub="allenai/OLMo-2-1124-7B-Instruct", name="OLMo-2-7B-Instruct", billions=7.3, pad="<|pad|>"
)
MISTRAL_2 = Model(
    hub="mistralai/Mistral-7B-Instruct-v0.2",
    name="Mistral-7B-Instruct-v0.2",
    billions=7.2,
    was_gated=True,
    pad="<unk>",
)
QWEN_MATH_SMALL = Model(
    hub="Qwen/Qwen2.5-Math-1.5B", name="Qwen2.5-Math-1.5B", billions=1.5, eos="<|im_end|>"
)
QWEN_MATH = Model(
    hub="Qwen/Qwen2.5-Math-7B", name="Qwen2.5-Math-7B", billions=7.6, eos="<|im_end|>"
)
QWEN_3_4B = Model(hub="Qwen/Qwen3-4B-Instruct-2507", name="Qwen3-4B-Instruct-2507", billions=4.0)
GEMMA_3_1B = Model(
    hub="google/gemma-3-1b-it",
    name="Gemma-3-1B-it",
    billions=1.0,
    gated=True,
    attention="eager",
    end_of_turn="<end_of_turn>",
)
LLAMA_3_2_3B = Model(
    hub="meta-llama/Llama-3.2-3B-Instruct",
    name="Llama-3.2-3B-Instruct",
    billions=3.2,
    gated=True,
    pad="<|finetune_right_pad_id|>",
)
LLAMA_3_1_8B = Model(
    hub="meta-llama/Llama-3.1-8B-Instruct",
    name="Llama-3.1-8B-Instruct",
    billions=8.0,
    gated=True,
    pad="<|finetune_right_pad_id|>",
)


@dataclass(frozen=True, kw_only=True)
class Data:
    """A data set.

    Attributes:
        key: part of the recipes' names, and folder of its files.
        name: how people call it.
        hub: its id.
        script: under ``data/``, that writes its files.
        judge: that tells a right answer.
    """

    key: str
    name: str
    hub: str
    script: str
    judge: str = ""


MBPP = Data(
    key="mbpp", name="MBPP", hub="google-research-datasets/mbpp", script="mbpp.py", judge="code"
)
MATH = Data(
    key="math",
    name="MATH",
    hub="appier-ai-research/robust-finetuning",
    script="hendrycks_math.py",
    judge="math",
)
GSM8K = Data(key="gsm8k", name="GSM8K", hub="openai/gsm8k", script="gsm8k.py", judge="math")
NQ = Data(key="nq", name="NQ", hub="mrqa-workshop/mrqa", script="nq.py", judge="llm")
OPENR1 = Data(
    key="openr1-math",
    name="OpenR1-Math",
    hub="llamafactory/OpenR1-Math-94k",
    script="openr1_math.py",
)
OPENMATH = Data(
    key="openmath", name="OpenMath", hub="nvidia/OpenMathInstruct-2", script="openmath.py"
)
OPENSCIENCE = Data(
    key="openscience", name="OpenScience", hub="nvidia/OpenScience", script="openscience.py"
)


# ------------------------------------------------------------------ arXiv 2501.14315 (paper 1)

TASKS = ("MBPP", "MATH", "ARC", "GSM8K", "BIRD")
Row = tuple[float, float, float, float, float]
BASE_12: Mapping[str, Row] = {
    GEMMA_2B.hub: (0.5106, 0.2810, 0.7474, 0.5845, 0.1389),
    MISTRAL_3.hub: (0.4868, 0.1720, 0.6408, 0.3169, 0.1284),
    LLAMA_3_8B.hub: (0.5926, 0.3140, 0.7816, 0.7255, 0.2053),
}
TABLE_12: Mapping[tuple[str, str, str], Row] = {
    (GEMMA_2B.hub, "mbpp", "sft"): (0.3995, 0.2290, 0.7159, 0.1926, 0.0514),
    (GEMMA_2B.hub, "mbpp", "rephrase"): (0.4841, 0.2890, 0.7056, 0.4822, 0.1375),
    (GEMMA_2B.hub, "mbpp", "self_output"): (0.5344, 0.2920, 0.5845, 0.5239, 0.1395),
    (GEMMA_2B.hub, "mbpp", "stm"): (0.5106, 0.2980, 0.7483, 0.5641, 0.1375),
    (GEMMA_2B.hub, "math", "sft"): (0.4577, 0.2170, 0.2952, 0.1903, 0.1245),
    (GEMMA_2B.hub, "math", "rephrase"): (0.4683, 0.2000, 0.7338, 0.3700, 0.1258),
    (GEMMA_2B.hub, "math", "self_output"): (0.5000, 0.3090, 0.7295, 0.5701, 0.1389),
    (GEMMA_2B.hub, "math", "stm"): (0.4947, 0.3030, 0.7534, 0.5542, 0.1330),
    (MISTRAL_3.hub, "mbpp", "sft"): (0.4550, 0.1220, 0.6826, 0.3685, 0.1617),
    (MISTRAL_3.hub, "mbpp", "rephrase"): (0.4524, 0.1910, 0.6775, 0.3889, 0.1649),
    (MISTRAL_3.hub, "mbpp", "self_output"): (0.4709, 0.1900, 0.6903, 0.2252, 0.1375),
    (MISTRAL_3.hub, "mbpp", "stm"): (0.4788, 0.1900, 0.6101, 0.4905, 0.1239),
    (MISTRAL_3.hub, "math", "sft"): (0.4709, 0.1670, 0.3498, 0.0, 0.1851),
    (MISTRAL_3.hub, "math", "rephrase"): (0.4974, 0.1650, 0.7355, 0.2714, 0.1799),
    (MISTRAL_3.hub, "math", "self_output"): (0.4683, 0.1940, 0.7312, 0.2396, 0.1447),
    (MISTRAL_3.hub, "math", "stm"): (0.4656, 0.1890, 0.6510, 0.4541, 0.1167),
    (LLAMA_3_8B.hub, "mbpp", "sft"): (0.5794, 0.2330, 0.5913, 0.1850, 0.1760),
    (LLAMA_3_8B.hub, "mbpp", "rephrase"): (0.5406, 0.3000, 0.7543, 0.7240, 0.1916),
    (LLAMA_3_8B.hub, "mbpp", "self_output"): (0.6164, 0.3340, 0.7918, 0.7839, 0.2001),
    (LLAMA_3_8B.hub, "mbpp", "stm"): (0.6111, 0.3200, 0.7892, 0.7543, 0.2066),
    (LLAMA_3_8B.hub, "math", "sft"): (0.5873, 0.2580, 0.4863, 0.6793, 0.1942),
    (LLAMA_3_8B.hub, "math", "rephrase"): (0.6032, 0.3290, 0.7850, 0.7862, 0.1890),
    (LLAMA_3_8B.hub, "math", "self_output"): (0.6005, 0.3440, 0.8012, 0.7801, 0.1988),
    (LLAMA_3_8B.hub, "math", "stm"): (0.6164, 0.3340, 0.7509, 0.7506, 0.2027),
}
"""Accuracies in the order of `TASKS`: model, target, method -> row of Table 12."""

TABLE_2: Mapping[tuple[str, str, str], tuple[float, float]] = {
    (GEMMA_2B.hub, "mbpp", "sft"): (-38.19, -21.76),
    (GEMMA_2B.hub, "mbpp", "self_output"): (-8.10, 5.70),
    (GEMMA_2B.hub, "mbpp", "rephrase"): (-3.23, -4.69),
    (GEMMA_2B.hub, "mbpp", "stm"): (0.42, 0.00),
    (GEMMA_2B.hub, "math", "sft"): (-36.68, -22.78),
    (GEMMA_2B.hub, "math", "self_output"): (-1.73, 9.06),
    (GEMMA_2B.hub, "math", "rephrase"): (-14.06, -28.83),
    (GEMMA_2B.hub, "math", "stm"): (-2.93, 7.83),
    (LLAMA_3_8B.hub, "mbpp", "sft"): (-34.71, -2.23),
    (LLAMA_3_8B.hub, "mbpp", "self_output"): (3.09, 1.55),
    (LLAMA_3_8B.hub, "mbpp", "rephrase"): (-5.32, -9.58),
    (LLAMA_3_8B.hub, "mbpp", "stm"): (-0.16, 3.20),
    (LLAMA_3_8B.hub, "math", "sft"): (-14.12, -17.83),
    (LLAMA_3_8B.hub, "math", "self_output"): (0.31, 9.55),
    (LLAMA_3_8B.hub, "math", "rephrase"): (-1.09, 4.78),
    (LLAMA_3_8B.hub, "math", "stm"): (-0.30, 6.37),
}
"""BWT and TI in %, as Table 2 prints them."""

CONTRADICTED: Mapping[tuple[str, str, str], str] = {
    (GEMMA_2B.hub, "mbpp", "stm"): "the authors' spreadsheet has MBPP 49.2, TI -3.6 % there too",
    (LLAMA_3_8B.hub, "mbpp", "self_output"): "their spreadsheet has these two the other way round",
    (LLAMA_3_8B.hub, "math", "sft"): "Table 13 has ARC and GSM8K the other way round",
}
"""Where another place of theirs says otherwise."""

TABLE_11: Mapping[tuple[str, str], tuple[float, float]] = {
    (OLMO_2.hub, "sft"): (-11.64, -9.05),
    (OLMO_2.hub, "stm"): (-6.12, -0.50),
    (GEMMA_9B.hub, "sft"): (7.14, 4.67),
    (GEMMA_9B.hub, "stm"): (13.49, 2.58),
}
"""TI and BWT in %, trained on MBPP, as Table 11 prints them."""

STM_DPF: Mapping[tuple[str, str], str] = {
    (LLAMA_3_8B.hub, "math"): (
        "Table 14: MATH 31.4 -> 17.8 %, MBPP 55.0, GSM8K 46.4, ARC 58.7, BIRD 18.1 %, with 70.9 % "
        "of the tokens masked (STM alone: MATH 33.4, MBPP 61.6, GSM8K 75.8 %)"
    ),
    (GEMMA_2B.hub, "math"): (
        "Table 18: MATH 28.1 -> 17.3 %, MBPP 43.7, GSM8K 9.1, ARC 14.4, BIRD 11.7 %, with 44.7 % "
        "of the tokens masked (STM alone: MATH 30.3, MBPP 49.5, GSM8K 55.4 %)"
    ),
}

SAME_TRAINER: Mapping[tuple[str, str], str] = {
    (GEMMA_2B.hub, "mbpp"): (
        "Table 4, DoRA row: BWT -8.54, TI -15.20 % (against -38.19, -21.76 with the baseline's own "
        "settings). The authors' spreadsheet has an unmasked run of what must be this trainer: "
        "MBPP 43.1, GSM8K 44.3 %"
    ),
    (LLAMA_3_8B.hub, "mbpp"): (
        "Table 16, DoRA row: BWT -1.89, TI -8.03 % (against -34.71, -2.23 with the baseline's own "
        "settings); from the accuracies of the authors' spreadsheet, BWT is -0.2, TI -8.0 %"
    ),
}
"""What unmasked golds gave in the trainer of the method."""


def transfer(hub: str, data: str, method: str) -> tuple[float, float]:
    """BWT and TI in %, from the accuracies of Table 12 (the formulas reproduce its other rows)."""
    base, tuned = BASE_12[hub], TABLE_12[hub, data, method]
    change = [100 * (after - before) / before for before, after in zip(base, tuned, strict=True)]
    target = TASKS.index(data.upper())
    others = [value for at, value in enumerate(change) if at != target]
    return sum(others) / len(others), change[target]

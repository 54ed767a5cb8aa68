"""The lab: a small data set, trainers whose batches are caught at the loss, and a plain oracle.

The oracle shares no code with what it checks: rows are tokenised with the chat template by hand,
every document is scored on its own with a plain forward and `log_softmax`, and the loss is summed
document by document.
"""

from __future__ import annotations

import copy
import itertools
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import set_seed
from trl import SFTTrainer

from ppx_ext.hosts.trl_config import PpxSFTConfig
from ppx_ext.hosts.trl_trainer import PpxSFTTrainer
from tests.models import tiny_model, tiny_tokenizer

IGNORE = -100
WORDS = ("chain", "of", "pairs", "answer", "half", "total", "clips", "function", "print", "value")


def chats(rows: int = 18, *, start: int = 0) -> list[dict[str, Any]]:
    """Prompt-completion chats of very uneven length; no two rows are equal."""
    found = []
    for row in range(start, start + rows):
        words = " ".join(WORDS[(row * 3 + i) % 10] for i in range(1 + (row * 5) % 17))
        found.append(
            {
                "prompt": [{"role": "user", "content": f"Add {row} and {row * 7 % 11}."}],
                "completion": [{"role": "assistant", "content": f"{words} {row}"}],
            }
        )
    return found


def messages(rows: int = 18) -> list[dict[str, Any]]:
    """The same as `messages`, each with a second exchange."""
    found = []
    for row in chats(rows):
        more = [
            {"role": "user", "content": "Sure?"},
            {"role": "assistant", "content": "Yes, sure."},
        ]
        found.append({"messages": [*row["prompt"], *row["completion"], *more]})
    return found


def texts(rows: int = 18) -> list[dict[str, Any]]:
    """Plain text, every token of which is trained on."""
    return [{"text": row["completion"][0]["content"]} for row in chats(rows)]


@dataclass
class Doc:
    """A document as it should reach the loss."""

    ids: list[int]
    target: list[bool]
    nll: list[float] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)


def tokenised(row: dict[str, Any], tokenizer: Any, *, completion_only: bool = True) -> Doc:
    """What TRL trains on, by its documentation."""

    def render(turns: list[Any], prompt: bool = False) -> list[int]:
        text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=prompt)
        return list(tokenizer(text, add_special_tokens=False)["input_ids"])

    if "text" in row:
        ids = tokenizer(row["text"] + tokenizer.eos_token)["input_ids"]
        return Doc(ids, [False] + [True] * (len(ids) - 1))
    if "messages" in row:
        encoded = tokenizer.apply_chat_template(
            row["messages"], return_assistant_tokens_mask=True, return_dict=True
        )
        return Doc(list(encoded["input_ids"]), [bool(m) for m in encoded["assistant_masks"]])
    ids = render(row["prompt"] + row["completion"])
    start = len(render(row["prompt"], True)) if completion_only else 1
    return Doc(ids, [i >= start for i in range(len(ids))])


@torch.no_grad()
def score(doc: Doc, model: Any) -> None:
    """NLL of every token under ``model``, on its own, in float32."""
    logits = model(input_ids=torch.tensor([doc.ids])).logits[0, :-1].float()
    picked = torch.log_softmax(logits, -1).gather(1, torch.tensor(doc.ids[1:])[:, None])[:, 0]
    doc.nll = [math.inf, *(-picked).tolist()]


def mask(doc: Doc, threshold: float, end: int) -> None:
    """Section 3 of arXiv 2501.14315: no loss where perplexity is above the threshold; ends stay."""
    hard = [math.exp(min(nll, 700)) > threshold for nll in doc.nll]
    doc.labels = [
        token if target and (token == end or not h) else IGNORE
        for token, target, h in zip(doc.ids, doc.target, hard, strict=True)
    ]


def gap(docs: list[Doc], share: float = 0.5) -> float:
    """A perplexity threshold in a wide gap between scores, so that rounding decides nothing."""
    nll = sorted(n for d in docs for n, t in zip(d.nll, d.target, strict=True) if t)
    low = int(len(nll) * (1 - share) * 0.7)
    at = max(range(low, min(low + len(nll) // 3, len(nll) - 1)), key=lambda i: nll[i + 1] - nll[i])
    return math.exp((nll[at] + nll[at + 1]) / 2)


@dataclass
class Lab:
    """One architecture, its base, its tokenizer and the oracle's documents."""

    arch: str = "llama"
    rows: list[dict[str, Any]] = field(default_factory=chats)
    completion_only: bool = True
    share: float = 0.5

    def __post_init__(self) -> None:
        self.tokenizer = tiny_tokenizer()
        base = self.model()
        self.docs = [
            tokenised(row, self.tokenizer, completion_only=self.completion_only)
            for row in self.rows
        ]
        for doc in self.docs:
            score(doc, base)
        self.threshold = gap(self.docs, self.share)
        for doc in self.docs:
            mask(doc, self.threshold, self.tokenizer.eos_token_id)
        assert 0.2 < self.kept_share() < 0.9, "the oracle must mask some, and keep some"

    def kept_share(self) -> float:
        """Share of targets that the oracle keeps."""
        kept = sum(label != IGNORE for doc in self.docs for label in doc.labels)
        return kept / sum(sum(doc.target) for doc in self.docs)

    def model(self) -> Any:
        """A fresh copy of the base."""
        return tiny_model(self.arch)

    def saved(self, folder: Path) -> Path:
        """The folder, with the base and its tokenizer in it."""
        self.model().save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)
        return folder

    def block(self, folder: Path, apply: str = "baked", **keys: Any) -> dict[str, Any]:
        """The `ppx` block of this lab."""
        keys = {"ppl_threshold": self.threshold, **keys}
        return {
            "mask": {"use": "stm", "apply": apply, **keys},
            "cache_dir": str(folder / "scores"),
        }

    def dataset(self) -> Dataset:
        """The rows as TRL is given them."""
        return Dataset.from_list(self.rows)


def arguments(folder: Path, **changes: Any) -> PpxSFTConfig:
    """One epoch on the CPU: batches of three, two of them a step, a step logged."""
    settings: dict[str, Any] = {
        "output_dir": str(folder / "out"),
        "use_cpu": True,
        "bf16": False,
        "report_to": "none",
        "num_train_epochs": 1,
        "per_device_train_batch_size": 3,
        "gradient_accumulation_steps": 2,
        "logging_steps": 1,
        "learning_rate": 1e-2,
        "save_strategy": "no",
        "disable_tqdm": True,
        "gradient_checkpointing": False,
        "dataloader_pin_memory": False,
    }
    return PpxSFTConfig(**{**settings, **changes})


@dataclass
class Caught:
    """A batch on its way into the loss, and what the loss is divided by."""

    inputs: dict[str, Any]
    count: int
    training: bool


class _Catching:
    caught: list[Caught]

    def compute_loss(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        count = kwargs.get("num_items_in_batch")
        kept = {k: v.clone() for k, v in inputs.items() if torch.is_tensor(v)}
        training = self.model.training  # type: ignore[attr-defined]
        self.__dict__.setdefault("caught", []).append(
            Caught(kept, -1 if count is None else int(count), training)
        )
        return super().compute_loss(model, inputs, *args, **kwargs)  # type: ignore[misc]


class Catcher(_Catching, PpxSFTTrainer):
    """Our trainer, with each batch caught."""


class StockCatcher(_Catching, SFTTrainer):
    """TRL's trainer, with each batch caught."""


def trainer(
    lab: Lab,
    folder: Path,
    kind: type[Any] = Catcher,
    *,
    ppx: Any = None,
    peft: Any = None,
    model: Any = None,
    more: dict[str, Any] | None = None,
    **changes: Any,
) -> Any:
    """A trainer on the lab's rows; adapters are initialised alike every time."""
    args = arguments(folder, ppx=ppx, **changes)
    set_seed(7)
    return kind(
        model=lab.model() if model is None else model,
        args=args,
        train_dataset=lab.dataset(),
        processing_class=lab.tokenizer,
        peft_config=copy.deepcopy(peft),
        **(more or {}),
    )


def lora(**changes: Any) -> Any:
    """A small LoRA."""
    from peft import LoraConfig

    return LoraConfig(**{"r": 4, "target_modules": ["q_proj", "v_proj"], **changes})


def documents(caught: Caught) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """(ids, labels) of each document of a batch, padding left out."""
    inputs = caught.inputs
    found = []
    for row in range(len(inputs["input_ids"])):
        ids, labels = inputs["input_ids"][row].tolist(), inputs["labels"][row].tolist()
        if "attention_mask" in inputs:
            length = int(inputs["attention_mask"][row].sum())
            cuts = [0, length]
        else:
            positions = inputs["position_ids"][row].tolist()
            cuts = [*(i for i, p in enumerate(positions) if p == 0), len(ids)]
        for start, stop in itertools.pairwise(cuts):
            found.append((tuple(ids[start:stop]), tuple(labels[start:stop])))
    return found


def shape_of(doc_ids: Any, doc_labels: Any) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """As compared: a document's first token is never predicted, whatever its label says."""
    return tuple(doc_ids), (IGNORE, *doc_labels[1:])


def targets(labels: Any) -> int:
    """Labels that take part in the loss of one document."""
    return sum(label != IGNORE for label in labels[1:])


def reference_loss(
    docs: list[tuple[tuple[int, ...], tuple[int, ...]]], model: Any, *, dft: bool = False
) -> float:
    """The token-averaged loss of some documents, each on its own."""
    total, count = 0.0, 0
    with torch.no_grad():
        for ids, labels in docs:
            logits = model(input_ids=torch.tensor([ids])).logits[0, :-1].float()
            logp = torch.log_softmax(logits, -1)
            for position, label in enumerate(labels[1:]):
                if label != IGNORE:
                    picked = float(logp[position, label])
                    total -= math.exp(picked) * picked if dft else picked
                    count += 1
    return total / count

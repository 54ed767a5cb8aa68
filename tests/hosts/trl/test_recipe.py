"""A recipe's way: any rows, all of TRL's arguments, one truth for preparing and training."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from datasets import Dataset
from trl import SFTConfig, SFTTrainer

from ppx_ext import pipeline
from ppx_ext.hosts import trl, trl_recipe
from ppx_ext.rows import Fields
from tests.hosts.trl.lab import Caught, Lab, StockCatcher, _Catching, documents, lora, shape_of

ODD = Fields(prompt="frage", response="antwort")


@pytest.fixture(scope="module")
def lab() -> Lab:
    return Lab()


@pytest.fixture(scope="module")
def model(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return lab.saved(tmp_path_factory.mktemp("base"))


def odd_rows(lab: Lab) -> list[dict[str, str]]:
    """The lab's chats under field names that nobody has heard of."""
    return [
        {"frage": row["prompt"][0]["content"], "antwort": row["completion"][0]["content"]}
        for row in lab.rows
    ]


def write(folder: Path, lab: Lab, model: Path, **changes: Any) -> Path:
    """A recipe with its data beside it; None takes a key out."""
    data = folder / "train.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in odd_rows(lab)))
    settings = {
        "model_name_or_path": str(model),
        "dtype": "float32",
        "ppx": lab.block(folder),
        "dataset_name": str(data),
        "dataset_prompt_field": "frage",
        "dataset_response_field": "antwort",
        "output_dir": str(folder / "out"),
        "use_cpu": True,
        "bf16": False,
        "report_to": "none",
        "num_train_epochs": 1,
        "per_device_train_batch_size": 3,
        "logging_steps": 1,
        "disable_tqdm": True,
        "gradient_checkpointing": False,
        "save_strategy": "no",
    }
    settings = {k: v for k, v in {**settings, **changes}.items() if v is not None}
    path = folder / "recipe.trl.yaml"
    path.write_text(yaml.safe_dump(settings, sort_keys=False))
    return path


def oracle(lab: Lab, threshold: float | None = None) -> set[Any]:
    """What our rows train on: the response and its end of turn, no line break after it."""
    newline = lab.tokenizer("\n")["input_ids"]
    found = set()
    for doc in lab.docs:
        assert doc.ids[-1:] == newline
        found.add(shape_of(doc.ids, [*doc.labels[:-1], -100]))
    return found


def caught(trainer: Any) -> set[Any]:
    """The documents that the trainer's loader makes, as they go into the loss."""
    batches = [Caught(dict(batch), 0, True) for batch in trainer.get_train_dataloader()]
    return {shape_of(*doc) for batch in batches for doc in documents(batch)}


PEFT = {"use_peft": True, "lora_r": 4, "lora_target_modules": ["q_proj", "v_proj"]}


@pytest.mark.parametrize(
    "settings",
    [{}, PEFT, {**PEFT, "use_dora": True}, {"packing": True, "max_length": 128}],
    ids=["full", "lora", "dora", "packed"],
)
def test_train(settings: dict[str, Any], lab: Lab, model: Path, tmp_path: Path) -> None:
    trainer = trl.train(write(tmp_path, lab, model, **settings))
    assert caught(trainer) == oracle(lab)
    state = json.loads((tmp_path / "out" / "ppx_state.json").read_text())
    assert [record["stage"] for record in state["records"]] == ["tokenize", "mask"]
    assert list((tmp_path / "out").glob("*.safetensors"))


@pytest.mark.parametrize("way", ["collator", "online"])
def test_other_ways(way: str, lab: Lab, model: Path, tmp_path: Path) -> None:
    path = write(tmp_path, lab, model, ppx=lab.block(tmp_path, way), **PEFT)

    class Catching(_Catching, trl.PpxSFTTrainer):
        pass

    original, trl.PpxSFTTrainer = trl.PpxSFTTrainer, Catching
    try:
        trainer = trl.train(path)
    finally:
        trl.PpxSFTTrainer = original
    assert {shape_of(*doc) for batch in trainer.caught for doc in documents(batch)} == oracle(lab)


def test_prepare_and_train_have_one_truth(lab: Lab, model: Path, tmp_path: Path) -> None:
    path = write(tmp_path, lab, model)
    prepared = pipeline.prepare(trl.tokenized(path), tmp_path / "prepared")
    rows = Dataset.from_parquet(str(next((tmp_path / "prepared" / "dataset").glob("*.parquet"))))
    assert {shape_of(row["input_ids"], row["labels"]) for row in rows} == oracle(lab)
    assert caught(trl.trainer_of(trl_recipe.read(path))) == oracle(lab)
    assert prepared is not None


@pytest.mark.parametrize("packing", [False, True])
def test_arguments_for_a_plain_trainer(
    packing: bool, lab: Lab, model: Path, tmp_path: Path
) -> None:
    args = SFTConfig(
        output_dir=str(tmp_path), use_cpu=True, bf16=False, report_to="none", packing=packing,
        max_length=128, disable_tqdm=True, gradient_checkpointing=False,
    )  # fmt: skip
    found = trl.sft_arguments(
        odd_rows(lab), model=str(model), processing_class=lab.tokenizer, args=args,
        ppx=lab.block(tmp_path), fields=ODD,
    )  # fmt: skip
    assert set(found) <= set(SFTTrainer.__init__.__annotations__) | {"model"}
    trainer = StockCatcher(**found, peft_config=lora())
    trainer.train()
    assert {shape_of(*doc) for batch in trainer.caught for doc in documents(batch)} == oracle(lab)


def test_every_token_where_asked(lab: Lab, model: Path, tmp_path: Path) -> None:
    path = write(tmp_path, lab, model, completion_only_loss=False)
    rows = trl.tokenized(path).dataset
    assert all(row["labels"][1:] == row["input_ids"][1:] for row in rows)


def test_max_length_is_honoured(lab: Lab, model: Path, tmp_path: Path) -> None:
    rows = trl.tokenized(write(tmp_path, lab, model, max_length=30)).dataset
    assert max(len(row["input_ids"]) for row in rows) == 30


def test_a_mixture(lab: Lab, model: Path, tmp_path: Path) -> None:
    mixture = [{"path": "json", "data_files": str(tmp_path / "train.jsonl")}]
    path = write(tmp_path, lab, model, dataset_name=None, datasets=mixture)
    assert len(trl.tokenized(path).dataset) == len(lab.rows)


def test_overrides(lab: Lab, model: Path, tmp_path: Path) -> None:
    path = write(tmp_path, lab, model, model_name_or_path="nobody/nothing", eval_strategy="epoch")
    other = tmp_path / "other.jsonl"
    other.write_text("".join(json.dumps(row) + "\n" for row in odd_rows(lab)[:6]))
    trainer = trl.train(path, data=str(other), model=str(model), out=tmp_path / "elsewhere")
    assert len(trainer.train_dataset) == 6
    assert (tmp_path / "elsewhere" / "ppx_state.json").is_file()


def test_evaluation_split(lab: Lab, model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    for split, rows in (("train", odd_rows(lab)[:12]), ("test", odd_rows(lab)[12:])):
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    block = lab.block(tmp_path)
    path = write(
        tmp_path, lab, model, dataset_name=str(folder), eval_strategy="epoch", ppx=block
    )  # fmt: skip
    plain = trl.trainer_of(trl_recipe.read(path)).eval_dataset
    block["mask"]["mask_eval"] = True
    path = write(tmp_path, lab, model, dataset_name=str(folder), eval_strategy="epoch", ppx=block)
    masked = trl.trainer_of(trl_recipe.read(path)).eval_dataset
    assert len(plain) == len(masked) == 6
    assert {shape_of(row["input_ids"], row["labels"]) for row in masked} <= oracle(lab)
    kept = [
        sum(label != -100 for row in rows for label in row["labels"]) for rows in (plain, masked)
    ]
    assert kept[0] == sum(sum(doc.target) - 1 for doc in lab.docs[12:]) > kept[1]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lerning_rate": 1e-3}, "lerning_rate"),
        ({"ppx": {"mask": {"use": "smt"}}}, "Did you mean 'stm'"),
        ({"ppx": {"mask": {"use": "stm", "ppl_treshold": 2}}}, "Did you mean `ppl_threshold`"),
        ({"ppx": None}, "no `ppx:` block"),
        ({"model_name_or_path": None}, "model_name_or_path"),
        ({"dataset_name": None}, "dataset_name"),
        ({"dataset_streaming": True}, "read as a whole"),
        ({"dataset_prompt_field": "question"}, "question"),
        ({"chat_template_path": "some/model"}, "is no file"),
        ({"pad_token": "<nope>"}, "<nope>"),
    ],
)
def test_mistakes_are_named(
    changes: dict[str, Any], message: str, lab: Lab, model: Path, tmp_path: Path
) -> None:
    path = write(tmp_path, lab, model, **changes)
    with pytest.raises(ValueError, match=message):
        trl.tokenized(path)


def test_a_package_that_a_base_in_4_bits_needs_is_named(
    lab: Lab, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find, path = importlib.util.find_spec, write(tmp_path, lab, model, load_in_4bit=True)
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "bitsandbytes" else find(name)
    )
    for use in (trl.tokenized, trl.train):
        with pytest.raises(ValueError, match=r"load_in_4bit: needs bitsandbytes, .*quantization"):
            use(path)


@pytest.mark.parametrize(
    "ppx",
    [{}, {"mask": {"use": "stm", "apply": "online"}}, {"mask": {"use": "stm", "mask_eval": True}}],
)
def test_a_plain_trainer_takes_baked_masks_only(
    ppx: dict[str, Any], lab: Lab, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="use PpxSFTTrainer"):
        trl.sft_arguments(
            [],
            model="m",
            processing_class=lab.tokenizer,
            args=None,
            ppx=ppx,  # type: ignore[arg-type]
        )

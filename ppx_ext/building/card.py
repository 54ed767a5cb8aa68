"""The card of a built data set, its record beside it, and the way of both to the hub."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ppx_ext.building import composition
from ppx_ext.contracts import StageRecord
from ppx_ext.examples import ROW, SOURCE
from ppx_ext.manifest import dump_records
from ppx_ext.records import write_text

CARD, DATA, RECORD = "README.md", "train.parquet", "build.json"
TEMPLATE = Path(__file__).parents[1] / "templates" / "dataset_card.md.j2"
SIZES = ("n<1K", "1K<n<10K", "10K<n<100K", "100K<n<1M", "1M<n<10M")
COLUMNS = {
    "messages": "the chat that is trained on",
    "prompt": "what the model is given",
    "completion": "what is trained on",
    ROW: "place in the data that it was built from",
    SOURCE: "whose words the target is: own, paraphrase or gold",
    "ppx_judge": "who judged it, with the version",
    "ppx_verdict": "correct, wrong or unknown; empty for a gold",
    "ppx_reason": "the verdict's, and why earlier attempts were not taken",
    "ppx_attempts": "responses that were asked for",
    "ppx_seed": "of the request that gave the target",
    "ppx_perplexity": "of the target under the base, where it was computed",
    "ppx_pass_rate": "share of the model's own answers that are correct, where it was computed",
}


def about(
    record: StageRecord,
    *,
    paper: str,
    inputs: Mapping[str, Any],
    versions: Mapping[str, str],
    command: str,
) -> dict[str, Any]:
    """What build.json tells, as plain JSON values."""
    (plain,) = dump_records([record])
    inputs = dict(inputs)
    return {
        "record": plain,
        "paper": paper,
        "inputs": inputs,
        "versions": dict(versions),
        "command": command,
    }


def write(folder: Path, about: Mapping[str, Any], columns: Sequence[str]) -> None:
    """Write README.md from what `about` gives and the names of the columns."""
    write_text(folder / CARD, render(about, columns))


def render(about: Mapping[str, Any], columns: Sequence[str]) -> str:
    """The card as text: a header that the hub reads, then what people read."""
    import jinja2
    import yaml

    record, inputs = about["record"], about["inputs"]
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True)
    environment.policies["json.dumps_kwargs"] = {"ensure_ascii": False, "sort_keys": True}
    environment.filters["tojson"] = _json
    rows = int(record["numbers"]["rows"])
    header = {
        "configs": [
            {
                "config_name": "default",
                "data_files": [{"split": "train", "path": DATA}],
            }
        ],
        "size_categories": [_size(rows)],
        "tags": ["ppx-ext", "self-response", record["component"]],
    }
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        header=yaml.safe_dump(header, sort_keys=False),
        model_name=Path(inputs["model"]["name"]).name,
        rows=f"{rows:,}",
        builder=record["component"],
        paper=about["paper"],
        model={"revision": None, "fingerprint": None, **inputs["model"]},
        judges=_judges(record, inputs),
        seed=inputs["seed"],
        fingerprint=record["fingerprint"],
        table=composition.table(record["numbers"]),
        notes=composition.notes(record["numbers"]),
        columns={name: COLUMNS.get(name, "") for name in columns},
        settings=record["settings"],
        command=about["command"],
        versions=about["versions"],
    )


def command_of(recipe: str, **options: Any) -> str:
    """The command line that builds this, as a shell takes it, without options that are None."""
    given = [part for name, value in options.items() if value for part in (f"--{name}", str(value))]
    return shlex.join(["ppx", "build", recipe, *given])


def _json(value: Any, indent: int) -> str:
    return json.dumps(value, indent=indent, ensure_ascii=False)


def _judges(record: Mapping[str, Any], inputs: Mapping[str, Any]) -> list[str]:
    named = zip(record["settings"]["judge"], inputs["judges"], strict=True)
    return [f"{judge['use']} ({version})" for judge, version in named]


def _size(rows: int) -> str:
    return next((name for power, name in enumerate(SIZES, start=3) if rows < 10**power), "n>10M")


def push(folder: Path, repository: str, *, private: bool) -> str:
    """Upload data, card and record to a data set repository, in one commit; return its address.

    Args:
        folder: of a built data set.
        repository: ``user/name`` on the hub; made where there is none.
        private: a new repository is not shown to others; one that exists stays as it is.

    Raises:
        ValueError: the hub refuses, or cannot be reached; what is built stays.
    """
    from huggingface_hub import HfApi

    hub = HfApi()
    try:
        hub.create_repo(repository, repo_type="dataset", private=private, exist_ok=True)
        commit = hub.upload_folder(
            repo_id=repository,
            repo_type="dataset",
            folder_path=folder,
            allow_patterns=[DATA, CARD, RECORD],
            commit_message="Data set built by ppx-ext",
        )
    except Exception as error:  # the hub's client changes its HTTP library, and with it its errors
        raise ValueError(
            f"{repository!r} cannot be written on the hub: {type(error).__name__}: {error}. The "
            f"data set is whole in {folder}; log in (`hf auth login`) and run the same command "
            "again: nothing is built twice"
        ) from error
    return str(commit.commit_url)

"""What TRL's own arguments gain: the `ppx` block, and the names of a recipe's data fields."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from trl import ScriptArguments, SFTConfig  # type: ignore[attr-defined]


@dataclass
class PpxSFTConfig(SFTConfig):  # type: ignore[misc]
    """TRL's `SFTConfig` with one more field.

    Args:
        ppx: the `ppx:` block as a mapping (in YAML and in Python) or as JSON (on the command
            line); None trains exactly as `SFTTrainer` does.
    """

    _VALID_DICT_FIELDS = [*SFTConfig._VALID_DICT_FIELDS, "ppx"]  # noqa: RUF012 - as TRL declares it

    ppx: dict[str, Any] | str | None = field(
        default=None,
        metadata={"help": 'The ppx block, for instance \'{"mask": {"use": "stm"}}\'.'},
    )


@dataclass
class PpxScriptArguments(ScriptArguments):  # type: ignore[misc]
    """TRL's `ScriptArguments` with the names of the data's fields, found by themselves if None."""

    dataset_prompt_field: str | None = field(
        default=None, metadata={"help": "Field that holds the prompt."}
    )
    dataset_response_field: str | None = field(
        default=None, metadata={"help": "Field that holds the gold response."}
    )
    dataset_messages_field: str | None = field(
        default=None, metadata={"help": "Field that holds the chat."}
    )

"""Prompts as data: what the model is asked, in files that a recipe can replace."""

from __future__ import annotations

import string
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import pydantic

from ppx_ext import GoldRow, Message, Prompt

FOLDER = Path(__file__).parent / "prompts"
SHIPPED = tuple(sorted(path.stem for path in FOLDER.glob("*.yaml")))


class Template(pydantic.BaseModel):
    """One way to ask for a response to a row.

    Placeholders are ``{question}`` (the last user's turn), ``{gold}`` and the row's columns by
    their names; ``{{`` and ``}}`` are braces.

    Attributes:
        system: joins the system's turn of the row, or becomes one; empty adds nothing.
        user: stands in the place of the last user's turn.
        prefix: what the response begins with; it is taken off the response again.
    """

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    system: str = ""
    user: str = "{question}"
    prefix: str = ""

    @pydantic.field_validator("system", "user", "prefix")
    @classmethod
    def _readable(cls, text: str) -> str:
        for _, name, form, conversion in string.Formatter().parse(text):
            if name is not None and (not name.isidentifier() or form or conversion):
                raise ValueError(
                    f"{{{name}}} is no placeholder: give a name alone, and write {{{{ and }}}} for "
                    "braces"
                )
        return text

    def ask(self, row: GoldRow) -> Prompt:
        """What to ask for a response to ``row``.

        Raises:
            ValueError: a placeholder names no column of the row.
        """
        values = {**row.columns, "question": row.question, "gold": row.gold}
        system, user = (_fill(text, values, row.row) for text in (self.system, self.user))
        if isinstance(row.prompt, str):
            return f"{system}\n\n{user}" if system else user
        return _with_system(_with_user(row.prompt, user), system)

    def own_words(self, response: str) -> str:
        """A response without the words that were put into the model's mouth."""
        if self.prefix and response.startswith(self.prefix):
            return response[len(self.prefix) :].lstrip()
        return response


def _fill(text: str, values: Mapping[str, Any], row: int) -> str:
    names = [name for _, name, _, _ in string.Formatter().parse(text) if name is not None]
    missing = [name for name in names if values.get(name) is None]
    if missing:
        raise ValueError(
            f"row {row}: the prompt's placeholder {{{missing[0]}}} names nothing there. The row "
            f"has {', '.join(sorted(values))}"
        )
    return text.format_map({name: _text(values[name]) for name in names})


def _text(value: Any) -> str:
    return "\n".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _with_user(turns: tuple[Message, ...], text: str) -> tuple[Message, ...]:
    places = [at for at, turn in enumerate(turns) if turn.get("role") == "user"]
    at = places[-1] if places else len(turns)
    return (*turns[:at], {"role": "user", "content": text}, *turns[at + 1 :])


def _with_system(turns: tuple[Message, ...], text: str) -> tuple[Message, ...]:
    if not text:
        return turns
    if turns and turns[0].get("role") == "system":
        before = f"{turns[0].get('content') or ''}\n\n".lstrip()
        return ({**turns[0], "content": before + text}, *turns[1:])
    return ({"role": "system", "content": text}, *turns)


class Prompts(pydantic.BaseModel):
    """What one task's rows are asked with.

    Attributes:
        wording: whose words these are.
        answer: asks for the model's own answer, the gold unseen.
        paraphrase: asks for the gold in the model's own words.
    """

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    wording: str
    answer: Template = Template()
    paraphrase: Template


def read(prompts: Any) -> Any:
    """A shipped name or a path as the prompts that lie there; anything else as it is.

    The words themselves are thus part of the settings: what was built with others is never taken
    for this.

    Raises:
        ValueError: there is no such file, or it holds no mapping.
    """
    import yaml

    if not isinstance(prompts, str | Path):
        return prompts
    path = FOLDER / f"{prompts}.yaml" if prompts in SHIPPED else Path(prompts)
    if not path.is_file():
        raise ValueError(
            f"no such prompts: give one of {', '.join(SHIPPED)}, or a YAML file's path"
        )
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not readable as YAML: {error}") from error
    if not isinstance(found, dict):
        raise ValueError(
            f"{path} must hold `wording` and `paraphrase`; see {FOLDER / 'plain.yaml'}"
        )
    return found


Wording = Annotated[
    Prompts, pydantic.BeforeValidator(read), pydantic.WithJsonSchema({"type": "string"})
]
"""`Prompts`, given as a shipped name, a path, or in full."""

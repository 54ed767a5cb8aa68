"""Any user's rows -> canonical rows: a chat (``messages``), ``prompt`` and ``completion``, or ids.

The shape of the data is found once, from the names of its columns, and an unclear one is an error
that lists them: nothing is guessed.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ppx_ext.chats import Skip
from ppx_ext.contracts import GOLD, SOURCE, Row
from ppx_ext.readers import Found, Source, read_rows

PROMPTS = ("prompt", "question", "instruction", "query", "problem")
RESPONSES = ("response", "answer", "output", "completion", "solution")
CHATS = ("messages", "conversations")
PEEKED_ROWS = 64
SPEAKERS: Mapping[str, str] = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "model": "assistant",
    "system": "system",
    "tool": "tool",
    "function": "tool",
    "observation": "tool",
}
"""ShareGPT's names of speakers -> roles of a chat template."""


@dataclass(frozen=True, kw_only=True)
class Fields:
    """Names of the columns to read; None leaves a name to be found.

    Args:
        prompt: what the user says.
        response: the gold response.
        messages: a whole chat, as role/content or as ShareGPT's from/value.

    Raises:
        ValueError: a chat and a prompt or response are both named, or only one of the pair.
    """

    prompt: str | None = None
    response: str | None = None
    messages: str | None = None

    def __post_init__(self) -> None:
        """Check that the names go together."""
        if self.messages and (self.prompt or self.response):
            raise ValueError("name either `messages`, or `prompt` and `response`, not both")
        if bool(self.prompt) != bool(self.response):
            raise ValueError("`prompt` and `response` must be named together")


@dataclass(frozen=True, kw_only=True)
class Shape:
    """How the rows of some data are to be read, with the columns that it names."""

    kind: Literal["ids", "chat", "pair", "text"]
    columns: tuple[str, ...]


class _Unusable(Exception):
    def __init__(self, reason: Any, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


def canonical_rows(
    source: Source,
    *,
    chat: bool,
    fields: Fields | None = None,
    edit: Callable[[str], str] | None = None,
    split: str = "train",
) -> Iterator[tuple[Found, Row | Skip]]:
    """Every row of ``source`` with its canonical form, or with the reason to leave it out.

    Args:
        source: see `readers.read_rows`.
        chat: write a prompt and its response as a chat of two messages (the tokenizer has a chat
            template); else they stay plain text.
        fields: names of columns; those that are not given are found.
        edit: rewrites gold responses (`edit_gold`), and never what a builder has from a model.
        split: of a folder or hub id that has several.

    Raises:
        ValueError: no shape, or more than one, fits the columns; they are listed.
    """
    found = read_rows(source, split=split)
    peeked = list(itertools.islice(found, PEEKED_ROWS))
    columns = list(dict.fromkeys(name for one in peeked for name in one.row or ()))
    if not columns:
        for one in itertools.chain(peeked, found):
            yield one, Skip(row=one.position, reason="unreadable row", detail=one.problem)
        return
    shape = shape_of(columns, fields or Fields())
    for one in itertools.chain(peeked, found):
        yield one, _canonical(one, shape, chat, edit)


def shape_of(columns: Sequence[str], fields: Fields) -> Shape:
    """What the rows are, from the names of their columns.

    Raises:
        ValueError: a named column is missing, or none or several shapes fit.
    """
    named = [name for name in (fields.messages, fields.prompt, fields.response) if name]
    missing = [name for name in named if name not in columns]
    if missing:
        raise ValueError(f"no column is called {', '.join(missing)}. {_listed(columns)}")
    if SOURCE in columns:
        return _built(columns, named)
    if fields.messages:
        return Shape(kind="chat", columns=(fields.messages,))
    if fields.prompt and fields.response:
        return _pair(fields.prompt, fields.response, columns)
    if "input_ids" in columns:
        return _ids(columns)
    chats, prompts, responses = (
        [name for name in known if name in columns] for known in (CHATS, PROMPTS, RESPONSES)
    )
    if len(chats) + bool(prompts and responses) > 1:
        raise ValueError(
            f"both a chat ({', '.join(chats)}) and a prompt with its response are there. {_ASK} "
            f"{_listed(columns)}"
        )
    if chats:
        return Shape(kind="chat", columns=(chats[0],))
    if prompts and responses:
        if len(prompts) > 1 or len(responses) > 1:
            raise ValueError(
                f"more than one column may be the prompt ({', '.join(prompts)}) or the response "
                f"({', '.join(responses)}). {_ASK} {_listed(columns)}"
            )
        return _pair(prompts[0], responses[0], columns)
    if "text" in columns:
        return Shape(kind="text", columns=("text",))
    raise ValueError(
        f"no column is known as a chat, or as prompt and response. {_ASK} {_listed(columns)}"
    )


_ASK = (
    "Say which to use: Fields(prompt=..., response=...) or Fields(messages=...) "
    "(options `prompt`, `response` and `messages` of `fields`)."
)


def _built(columns: Sequence[str], named: Sequence[str]) -> Shape:
    """What a builder wrote, whatever stands beside it: the user's own columns with the golds."""
    target = ("messages",) if "messages" in columns else ("prompt", "completion")
    if set(named) - set(target):
        raise ValueError(
            f"these rows were built (column {SOURCE!r}): {' and '.join(target)} hold what is "
            f"trained on, but {', '.join(named)} are named. Take these names out."
        )
    return Shape(kind="chat" if "messages" in target else "pair", columns=target)


def _listed(columns: Sequence[str]) -> str:
    return f"Columns: {', '.join(columns)}."


def _ids(columns: Sequence[str]) -> Shape:
    if "labels" not in columns:
        raise ValueError(
            f"there are input_ids but no labels, so that nothing tells what is trained on. "
            f"{_listed(columns)}"
        )
    return Shape(kind="ids", columns=("input_ids", "labels"))


def _pair(prompt: str, response: str, columns: Sequence[str]) -> Shape:
    # Alpaca: `input` is what the instruction is about, empty where it needs nothing.
    more = ("input",) if prompt == "instruction" and "input" in columns else ()
    return Shape(kind="pair", columns=(prompt, response, *more))


def _canonical(
    found: Found, shape: Shape, chat: bool, edit: Callable[[str], str] | None
) -> Row | Skip:
    if found.row is None:
        return Skip(row=found.position, reason="unreadable row", detail=found.problem)
    make = {"ids": _tokenised, "chat": _chat, "pair": _pair_row, "text": _text}[shape.kind]
    try:
        row = make(found.row, shape, chat)
    except _Unusable as error:
        return Skip(row=found.position, reason=error.reason, detail=error.detail)
    if edit is None or shape.kind == "ids" or found.row.get(SOURCE, GOLD) != GOLD:
        return row
    return edit_gold(row, edit)


def _tokenised(row: Row, shape: Shape, chat: bool) -> Row:
    if any(row.get(name) is None for name in shape.columns):
        raise _Unusable("unreadable row", "input_ids or labels are missing")
    return dict(row)


def _text(row: Row, shape: Shape, chat: bool) -> Row:
    return {"prompt": "", "completion": _response(row.get(shape.columns[0]), shape.columns[0])}


def _pair_row(row: Row, shape: Shape, chat: bool) -> Row:
    prompt, response = row.get(shape.columns[0]), row.get(shape.columns[1])
    if isinstance(prompt, list) and isinstance(response, list):
        if any(message.get("role") == "assistant" for message in prompt):
            raise _Unusable(
                "unreadable row", "the prompt holds an assistant's turn; give the row as `messages`"
            )
        return _with_messages(row, [*prompt, *response])
    response = _response(response, shape.columns[1])
    if not isinstance(prompt, str):
        problem = f"{shape.columns[0]} is {type(prompt).__name__}, not text"
        raise _Unusable("unreadable row", problem)
    more = row.get(shape.columns[2]) if len(shape.columns) > 2 else None
    prompt = f"{prompt}\n\n{more}" if more else prompt
    if not chat:
        return {"prompt": prompt, "completion": response}
    turns = (("user", prompt), ("assistant", response))
    return {"messages": [{"role": role, "content": content} for role, content in turns]}


def _response(response: Any, name: str) -> str:
    if response is None:
        raise _Unusable("no response", f"{name} is missing")
    if not isinstance(response, str):
        raise _Unusable("unreadable row", f"{name} is {type(response).__name__}, not text")
    if not response.strip():
        raise _Unusable("empty response", f"{name} is {response!r}")
    return response


def _chat(row: Row, shape: Shape, chat: bool) -> Row:
    messages = row.get(shape.columns[0])
    if not isinstance(messages, list | tuple) or not all(isinstance(m, Mapping) for m in messages):
        raise _Unusable("unreadable row", f"{shape.columns[0]} is not a list of messages")
    return _with_messages(row, messages)


def _with_messages(row: Row, messages: Sequence[Mapping[str, Any]]) -> Row:
    turns = [_turn(message) for message in messages]
    gold = [turn for turn in turns if turn["role"] == "assistant"]
    if not gold:
        raise _Unusable("no response", f"no assistant among the {len(turns)} messages")
    if any(_is_empty(turn) for turn in gold):
        raise _Unusable("empty response", "an assistant's message is empty")
    found: dict[str, Any] = {"messages": turns}
    tools = row.get("tools")
    if tools:
        found["tools"] = json.loads(tools) if isinstance(tools, str) else tools
    if row.get("chat_template_kwargs"):
        found["chat_template_kwargs"] = row["chat_template_kwargs"]
    return found


def _turn(message: Mapping[str, Any]) -> dict[str, Any]:
    if "role" in message:
        # Arrow gives every message the keys of all; `content: null` has a meaning of its own.
        return {k: v for k, v in message.items() if v is not None or k == "content"}
    if "from" not in message or "value" not in message:
        raise _Unusable("unreadable row", f"a message has the keys {sorted(message)}")
    speaker = str(message["from"])
    if speaker not in SPEAKERS:
        raise _Unusable("unreadable row", f"no role is known for the speaker {speaker!r}")
    return {"role": SPEAKERS[speaker], "content": message["value"]}


def _is_empty(turn: Mapping[str, Any]) -> bool:
    content = turn.get("content")
    if isinstance(content, str):
        content = content.strip()
    return not content and not turn.get("tool_calls")


def edit_gold(row: Row, edit: Callable[[str], str]) -> Row:
    """A canonical row with ``edit`` applied to its gold: assistant messages, or the completion."""
    if "completion" in row:
        return {**row, "completion": edit(row["completion"])}
    return {**row, "messages": [_edited(message, edit) for message in row["messages"]]}


def _edited(message: Mapping[str, Any], edit: Callable[[str], str]) -> Mapping[str, Any]:
    content = message.get("content")
    if message["role"] != "assistant" or not content:
        return message
    if isinstance(content, str):
        return {**message, "content": edit(content)}
    parts = [{**part, "text": edit(part["text"])} if "text" in part else part for part in content]
    return {**message, "content": parts}

"""What is kept of published models' chat templates, against the copies that the hosts ship.

TRL keeps models' own templates, to tell the models apart; Axolotl those that it trains with.
"""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from ppx_ext.proving import published, stand_ins

Chat = Sequence[Mapping[str, str]]

COPIES = {  # of one model of each family
    "trl": {
        "gemma": "google/gemma-2-2b-it",
        "gemma3": "google/gemma-3-1b-it",
        "llama3": "meta-llama/Meta-Llama-3-8B-Instruct",
        "llama3_1": "meta-llama/Llama-3.1-8B-Instruct",
        "llama3_2": "meta-llama/Llama-3.2-3B-Instruct",
        "qwen2_5": "Qwen/Qwen2.5-7B-Instruct",
        "qwen3": "Qwen/Qwen3-8B",
        "qwen3_instruct_2507": "Qwen/Qwen3-4B-Instruct-2507",
    },
    "axolotl": {
        "gemma": "google/gemma-2-2b-it",
        "gemma3": "google/gemma-3-1b-it",
        "llama3": "meta-llama/Meta-Llama-3-8B-Instruct",
        "llama3_2_vision": "meta-llama/Llama-3.2-3B-Instruct",
        "mistral_v1": "mistralai/Mistral-7B-Instruct-v0.2",
        "mistral_v2v3": "mistralai/Mistral-7B-Instruct-v0.3",
        "qwen_25": "Qwen/Qwen2.5-7B-Instruct",
        "qwen3": "Qwen/Qwen3-8B",
        "chatml": "Qwen/Qwen3-4B-Instruct-2507",
    },
}
FOLDERS = {"trl": "chat_templates", "axolotl": "utils/chat_templates/templates"}
OLMO, MATH = "allenai/OLMo-2-1124-7B-Instruct", "Qwen/Qwen2.5-Math-7B"  # no host has a copy
BOXED = r"Please reason step by step, and put your final answer within \boxed{}."


def chat(*contents: str, system: str | None = None) -> Chat:
    turns = [
        {"role": "assistant" if i % 2 else "user", "content": content}
        for i, content in enumerate(contents)
    ]
    return turns if system is None else [{"role": "system", "content": system}, *turns]


SPACED = chat("  Hi?\n\n", "\n Yes. \n", " And? ", " No. ", system=" \nBe brief.\n ")
THOUGHT = "<think>\nHm.\n</think>\n\nYes."
CHATS = {
    "question": chat("Hi?"),
    "turn": chat("Hi?", "Yes."),
    "turns": chat("Hi?", "Yes.", "And?", "No.", "So?"),
    "system": chat("Hi?", "Yes.", "And?", "No.", system="Be brief."),
    "system, question": chat("Hi?", system="Be brief."),
    "empty system": chat("Hi?", "Yes.", system=""),
    "white space": SPACED[1:],
    "white space, system": SPACED,
    "thoughts": chat("Hi?", THOUGHT, "And?", THOUGHT),
    "two questions": [*chat("Hi?"), *chat("And?", "No.")],
    "late system": [*chat("Hi?"), *chat("And?", system="Be brief.")],
}


def trimmed(turns: Chat, prompt: bool, render: Callable[[Chat, bool], str]) -> str:
    """Axolotl ships that of the vision models, which trims no message but the system's."""
    texts = [{**turn, "content": f"<{i}>"} for i, turn in enumerate(turns)]
    said = render(texts, prompt)
    for i, turn in enumerate(turns):
        content = turn["content"]
        said = said.replace(f"<{i}>", content.strip() if turn["role"] == "system" else content)
    return said


def thinking(turns: Chat, prompt: bool, render: Callable[[Chat, bool], str]) -> str:
    """Axolotl's own: it opens a thought where an answer is to begin."""
    return render(turns, prompt) + ("<think>\n\n" if prompt else "")


DIFFERENT = {("axolotl", "llama3_2_vision"): trimmed, ("axolotl", "qwen3"): thinking}


@pytest.fixture(autouse=True)
def one_day(monkeypatch: pytest.MonkeyPatch) -> None:
    """Llama 3.2's template tells the model the date; midnight comes between no two texts."""
    from transformers.utils import chat_template_utils

    class Clock:
        @staticmethod
        def now() -> datetime:
            return datetime(2031, 2, 3)

    monkeypatch.setattr(chat_template_utils, "datetime", Clock)


@functools.cache
def words(model: str) -> Any:
    about = published.of(model)
    assert about is not None
    return stand_ins.tokenizer(about.special, about.template, ())


def render(model: str, turns: Chat, prompt: bool, template: str | None = None) -> str:
    """The text of a chat, or why it is refused; None is the template that is kept here."""
    from jinja2 import TemplateError

    try:
        text: str = words(model).apply_chat_template(
            turns,
            chat_template=template,
            tokenize=False,
            add_generation_prompt=prompt,
        )
    except TemplateError as refused:
        return f"refused: {refused}"
    return text


def shipped(host: str, name: str) -> str:
    """A host's file, found without importing the host."""
    spec = importlib.util.find_spec(host)
    if spec is None:
        pytest.skip(f"{host} is not installed, and its copy {name}.jinja was not looked at")
    (root,) = spec.submodule_search_locations or ()
    return (Path(root) / FOLDERS[host] / f"{name}.jinja").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", CHATS)
@pytest.mark.parametrize(
    ("host", "file"),
    [
        pytest.param(host, file, marks=[pytest.mark.axolotl] if host == "axolotl" else [])
        for host, files in COPIES.items()
        for file in files
    ],
)
def test_a_chat_has_the_text_of_the_hosts_copy(host: str, file: str, name: str) -> None:
    model, template, turns = COPIES[host][file], shipped(host, file), CHATS[name]
    ours = functools.partial(render, model)
    for prompt in (False, True):
        change = DIFFERENT.get((host, file))
        wanted = change(turns, prompt, ours) if change else ours(turns, prompt)
        assert render(model, turns, prompt, template) == wanted


@pytest.mark.parametrize("name", CHATS)
def test_qwens_for_mathematics_differ_in_what_the_system_says(name: str) -> None:
    turns = CHATS[name]
    said = turns if turns[0]["role"] == "system" else [*chat(system=BOXED), *turns]
    for prompt in (False, True):
        assert render(MATH, turns, prompt) == render(COPIES["trl"]["qwen2_5"], said, prompt)


def test_olmos_ends_its_last_turn_without_a_line_feed() -> None:
    end = "<|endoftext|>"
    start = f"{end}<|system|>\nBe brief.\n<|user|>\nHi?\n<|assistant|>\nYes.{end}\n<|user|>\nAnd?\n"
    asked = chat("Hi?", "Yes.", "And?", system="Be brief.")
    assert render(OLMO, asked, False) == start
    assert render(OLMO, asked, True) == f"{start}<|assistant|>\n"
    answered = [*asked, {"role": "assistant", "content": " No."}]
    assert render(OLMO, answered, False) == f"{start}<|assistant|>\n No.{end}"


def test_llama_3_2_tells_the_date_and_3_1_one_of_its_own() -> None:
    for model, day in (("3.2-3B", "03 Feb 2031"), ("3.1-8B", "26 Jul 2024")):
        text = render(f"meta-llama/Llama-{model}-Instruct", CHATS["turn"], False)
        assert f"\nToday Date: {day}\n\n" in text


def test_every_template_is_held_to_something() -> None:
    held = {OLMO, MATH, *(model for files in COPIES.values() for model in files.values())}
    texts = {model: words(model).chat_template for model in published.models()}
    assert set(texts.values()) == {texts[model] for model in held}

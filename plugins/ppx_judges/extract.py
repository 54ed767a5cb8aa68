"""The program in a response."""

from __future__ import annotations

import re
import textwrap

# As the authors of Self-Output cut it out (arXiv 2501.14315): the text between the first fence and
# the next, whatever stands there; a line `python` below a bare fence is a part of the program.
_FENCED = re.compile(r"```(.*?)(```|\Z)", re.DOTALL)
_HEAD = re.compile(r"[ \t]*([\w+#.-]*)[ \t]*\n|(python)\b[^\n]*\n|(python)[ \t]", re.IGNORECASE)
_MARKED = re.compile(r"\[BEGIN\](.*?)(?:\[DONE\]|\Z)", re.DOTALL)
_PYTHON = {"", "python", "python3", "py"}


class NoProgramError(ValueError):
    """The response has no program; the message says why."""


def program_of(response: str) -> str:
    """The first fenced block in Python or without a language; then any block; then all of it.

    Text between ``[BEGIN]`` and ``[DONE]`` counts where there is no fence. A ``[DONE]`` without a
    ``[BEGIN]``, which was the prompt's last word then, ends the response: what follows is the next
    problem of a base model that goes on.

    Raises:
        NoProgramError: nothing is there, or the block is not closed: the response was cut.
    """
    text = response.replace("\r\n", "\n").replace("\r", "\n")
    done = text.find("[DONE]")
    if done >= 0 and "[BEGIN]" not in text[:done]:
        text = text[:done]
    blocks = [_block(match) for match in _FENCED.finditer(text)]
    if blocks:
        _, code, closed = next((each for each in blocks if each[0] in _PYTHON), blocks[0])
        if not closed:
            raise NoProgramError("the code block is not closed: the response was cut")
        return _tidy(code)
    marked = _MARKED.search(text)
    return _tidy(marked[1] if marked else text)


def _block(match: re.Match[str]) -> tuple[str, str, bool]:
    """Language, code, and whether the block is closed."""
    head = _HEAD.match(match[1])
    language = next((each for each in head.groups() if each), "") if head else ""
    return language.lower(), match[1][head.end() if head else 0 :], bool(match[2])


def _tidy(code: str) -> str:
    if not code.strip():
        raise NoProgramError("there is no code in the response")
    return textwrap.dedent(code).strip()

"""HumanEval's responses -> whole programs: a completion of the prompt, or a function in a block."""

from __future__ import annotations

import re
import textwrap

STOPS = ("\nclass ", "\ndef ", "\n#", "\nif ", "\nprint(", "\nassert ", "\n```", "\n@")
"""Where a bare completion ends: HumanEval's own, and what else begins anew at the margin."""

_BLOCK = re.compile(r"```[ \t]*(?:python|py)?[ \t]*\r?\n(.*?)(?:\n[ \t]*```|\Z)", re.DOTALL | re.I)


def completed(signature: str, entry_point: str, response: str, *, chat: bool) -> str:
    """The program that a response stands for.

    Args:
        signature: HumanEval's prompt: imports, helpers, and a function's head with its docstring.
        entry_point: the function's name.
        response: a chat's answer, or how a bare prompt is gone on with.
        chat: which of them.

    A chat's block with the whole function comes behind the prompt's code, whose imports and helpers
    it may use; one without it is the function's body.
    """
    if not chat:
        ends = [at for stop in STOPS if (at := response.find(stop)) >= 0]
        return signature + response[: min(ends, default=len(response))]
    block = _BLOCK.search(response)
    code = block[1] if block else response
    if re.search(rf"^def\s+{re.escape(entry_point)}\b", textwrap.dedent(code), re.MULTILINE):
        return f"{signature.rstrip()}\n\n\n{textwrap.dedent(code)}"
    return f"{signature.rstrip()}\n{textwrap.indent(textwrap.dedent(code), '    ')}"

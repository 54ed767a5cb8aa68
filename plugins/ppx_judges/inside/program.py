"""The untrusted end: runs the model's program, and does with it what the checker asks.

Nothing here decides anything: the program can change all of it, and gains nothing by that.
"""

from __future__ import annotations

import os
import sys
import types
from typing import Any

from ppx_judges.inside import confined
from ppx_judges.inside.talk import OPERATIONS, PROGRAM, Peer, described
from ppx_judges.inside.wire import Ended, Pipe

ASKED, ANSWERED = 3, 4
_PLAIN: tuple[Any, ...] = (
    bool,
    int,
    float,
    complex,
    str,
    bytes,
    tuple,
    list,
    dict,
    set,
    frozenset,
    bytearray,
)


def main(folder: str) -> None:
    """Wait for a program; then run it as a whole, or answer for it. ``folder`` is not for it."""
    pipe = Pipe(ASKED, ANSWERED)
    order = pipe.receive()
    if confined.has_rights():
        pipe.send(["unsafe"])
        return
    os.chdir("/tmp")
    confined.to_limits(order["limits"])
    sys.path = [*(each for each in sys.path if each != folder), *order["extra"]]
    pipe.send(["safe"])
    if order["whole"]:
        _run_whole(order["program"])
    else:
        _answer_for(order, pipe)


def _run_whole(source: str) -> None:
    os.close(ASKED)
    os.close(ANSWERED)
    main_module = types.ModuleType("__main__")
    sys.modules["__main__"], sys.argv = main_module, [PROGRAM]
    exec(compile(source, PROGRAM, "exec", dont_inherit=True), main_module.__dict__)


def _answer_for(order: dict[str, Any], pipe: Pipe) -> None:
    module = types.ModuleType("program")
    sys.modules["program"] = module
    peer = Peer(pipe, _serve, trusting=True)
    try:
        for line in order["imports"]:
            _try_import(line, module)
        exec(compile(order["program"], PROGRAM, "exec", dont_inherit=True), module.__dict__)
    except BaseException as error:
        pipe.send(described(error))
    else:
        peer.codec.lent.append(module)
        pipe.send(["loaded"])
    while True:
        try:
            peer.answer(pipe.receive())
        except Ended:
            os._exit(0)


def _try_import(line: str, module: types.ModuleType) -> None:
    try:
        exec(line, module.__dict__)
    except ImportError:
        return


def _serve(what: str, one: Any, args: tuple[Any, ...], named: dict[str, Any]) -> Any:
    if what == "names":
        return {name: _kind(getattr(one, name)) for name in args[0] if hasattr(one, name)}
    if what == "view":
        return _view(one)
    return OPERATIONS[what](one, *args, **named)


def _kind(value: Any) -> tuple[Any, ...]:
    if isinstance(value, types.ModuleType):
        return ("module", value.__name__)
    if isinstance(value, type) and issubclass(value, BaseException):
        return ("exception", value.__name__, [each.__name__ for each in value.__mro__])
    if isinstance(value, type) or callable(value):
        return ("object", value)
    return ("data", value)


def _view(value: Any) -> tuple[Any, ...]:
    for kind in _PLAIN:
        if isinstance(value, kind):
            return ("plain", kind(value))
    return ("object", type(value).__qualname__, dict(getattr(value, "__dict__", {})))

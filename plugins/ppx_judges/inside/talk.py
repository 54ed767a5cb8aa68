"""A conversation: each end asks the other to do something with an object that it has."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any

from ppx_judges.inside.wire import Broken, Codec, Ended, Pipe, fill, flat

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PROGRAM = "<program>"
COMPARISONS = ("eq", "ne", "lt", "le", "gt", "ge")
ARITHMETIC = ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "and", "or", "xor")
_UNARY = ("bool", "len", "str", "repr", "int", "float", "index", "abs", "neg", "enter")


class Raised(Exception):
    """The other end raised this: a class's name and its bases', a message, a line of its file."""

    def __init__(self, name: str, bases: list[str], message: str, line: int) -> None:
        self.name, self.bases, self.message, self.line = name, bases, message, line
        super().__init__(name, message)


class Distant:
    """An object that lives at the other end; what is done with it is asked of it there."""

    def __init__(self, peer: Peer, handle: int) -> None:
        object.__setattr__(self, "_peer", peer)
        object.__setattr__(self, "_handle", handle)

    def _ask(self, what: str, /, *args: Any, **named: Any) -> Any:
        return object.__getattribute__(self, "_peer").ask(what, self._handle, *args, **named)

    def __call__(self, *args: Any, **named: Any) -> Any:
        """Have it called there."""
        return self._ask("call", *args, **named)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name not in ("__name__", "__doc__", "__dict__"):
            raise AttributeError(name)
        return self._ask("getattr", name)

    def __setattr__(self, name: str, value: Any) -> None:
        self._ask("setattr", name, value)

    def __delattr__(self, name: str) -> None:
        self._ask("delattr", name)

    def __getitem__(self, key: Any) -> Any:
        return self._ask("getitem", key)

    def __setitem__(self, key: Any, value: Any) -> None:
        self._ask("setitem", key, value)

    def __delitem__(self, key: Any) -> None:
        self._ask("delitem", key)

    def __iter__(self) -> Iterator[Any]:
        over = self._ask("iter")
        return over if over is self else iter(over)

    def __next__(self) -> Any:
        found = self._ask("next")
        if not found:
            raise StopIteration
        return found[0]

    def __format__(self, how: str) -> str:
        return str(self._ask("format", how))

    def __round__(self, *digits: int) -> Any:
        return self._ask("round", *digits)

    def __instancecheck__(self, other: Any) -> bool:
        return bool(self._ask("isinstance", other))

    def __exit__(self, *error: Any) -> None:
        self._ask("exit")

    def __hash__(self) -> int:
        return hash(("distant", self._handle))

    def __eq__(self, other: Any) -> bool:
        return self is other


def _unary(name: str) -> Callable[[Distant], Any]:
    return lambda self: self._ask(name)


for _name in _UNARY:
    setattr(Distant, f"__{_name}__", _unary(_name))


def _next(one: Any) -> list[Any]:
    try:
        return [next(one)]
    except StopIteration:
        return []


OPERATIONS: dict[str, Callable[..., Any]] = {
    "call": lambda one, *args, **named: one(*args, **named),
    "getattr": getattr,
    "setattr": setattr,
    "delattr": delattr,
    "getitem": operator.getitem,
    "setitem": operator.setitem,
    "delitem": operator.delitem,
    "iter": iter,
    "next": _next,
    "format": format,
    "round": round,
    "isinstance": lambda one, other: isinstance(other, one),
    "enter": lambda one: one.__enter__(),
    "exit": lambda one: one.__exit__(None, None, None),
    "bool": bool,
    "len": len,
    "str": str,
    "repr": repr,
    "int": int,
    "float": float,
    "index": operator.index,
    "abs": abs,
    "neg": operator.neg,
    **{name: getattr(operator, name) for name in COMPARISONS},
    **{name: getattr(operator, f"__{name}__") for name in ARITHMETIC},
}


class Peer:
    """One end.

    Args:
        pipe: to the other end.
        serve: ``serve(what, object, args, named)``: does what the other end asks.
        distant: class of the other end's objects, here.
        raising: what to raise for an exception of the other end.
        trusting: as in `Codec`.
    """

    def __init__(
        self,
        pipe: Pipe,
        serve: Callable[[str, Any, tuple[Any, ...], dict[str, Any]], Any],
        *,
        distant: type[Distant] = Distant,
        raising: Callable[[Raised], BaseException] = lambda raised: raised,
        trusting: bool,
    ) -> None:
        self.pipe = pipe
        self._serve, self._raising, self._class = serve, raising, distant
        self._known: dict[int, Distant] = {}
        self.codec = Codec(self._distant, self._handle, trusting=trusting)

    def _distant(self, handle: int) -> Distant:
        if handle not in self._known:
            self._known[handle] = self._class(self, handle)
        return self._known[handle]

    def _handle(self, value: Any) -> int | None:
        # The exact class: a class of the program's may lie about what it is.
        if type(value) is not self._class:
            return None
        return int(object.__getattribute__(value, "_handle"))

    def ask(self, what: str, handle: int, /, *args: Any, **named: Any) -> Any:
        """Have ``what`` done with the other end's object; containers it changes are changed here.

        Raises:
            Ended: the other end is gone.
            Broken: it does not keep to the protocol.
        """
        seen: list[Any] = []
        data = self.codec.encode((args, tuple(named.items())), seen)
        self.pipe.send(["ask", what, handle, data])
        while (frame := self.receive())[0] == "ask":
            self.answer(frame)
        if frame[0] == "value":
            value = self.codec.decode(frame[1], seen)
            self._take_changes(frame[2], seen)
            return value
        raise self._raising(Raised(*frame[1:]))

    def receive(self) -> list[Any]:
        """The next frame, in a form that can be read."""
        frame = self.pipe.receive()
        fields = {"ask": (str, int), "value": (), "raised": (str, list, str, int)}
        sizes = {"ask": 4, "value": 3, "raised": 5}
        if not isinstance(frame, list) or not frame or not isinstance(frame[0], str):
            raise Broken("no frame")
        kinds = fields.get(frame[0])
        if kinds is None or len(frame) != sizes[frame[0]]:
            raise Broken("an unknown frame")
        if not all(type(each) is kind for each, kind in zip(frame[1:], kinds, strict=False)):
            raise Broken("a frame of the wrong types")
        if frame[0] == "value":
            _check_changes(frame[2])
        return frame

    def answer(self, frame: list[Any]) -> None:
        """Do what the other end asked for, and tell it what came of it."""
        _, what, handle, data = frame
        seen: list[Any] = []
        args, named = _arguments(self.codec.decode(data, seen))
        before = [flat(each) for each in seen]
        try:
            value = self._serve(what, self.codec.lent[handle], args, named)
            reply = ["value", self.codec.encode(value, seen), self._changes(before, seen)]
            self.pipe.send(reply)
        except (Ended, Broken):
            raise
        except BaseException as error:
            self.pipe.send(described(error))

    def _take_changes(self, changes: list[Any], seen: list[Any]) -> None:
        try:
            for at, content in changes:
                fill(seen[at], [self.codec.decode(each, seen) for each in content])
        except (ValueError, TypeError, LookupError) as error:
            raise Broken(f"changes: {error}") from None

    def _changes(self, before: list[list[Any]], seen: list[Any]) -> list[Any]:
        changes = []
        for at, was in enumerate(before):
            now = flat(seen[at])
            if len(now) != len(was) or any(a is not b for a, b in zip(now, was, strict=True)):
                changes.append([at, [self.codec.encode(each, seen) for each in now]])
        return changes


def _arguments(data: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    try:
        args, named = data
        return tuple(args), {str(name): value for name, value in named}
    except (ValueError, TypeError):
        raise Broken("arguments of the wrong types") from None


def _check_changes(changes: Any) -> None:
    good = isinstance(changes, list) and all(
        isinstance(each, list)
        and len(each) == 2
        and type(each[0]) is int
        and isinstance(each[1], list)
        for each in changes
    )
    if not good:
        raise Broken("changes of the wrong types")


def described(error: BaseException) -> list[Any]:
    """An exception as a frame."""
    if isinstance(error, Raised):
        return ["raised", error.name, error.bases, error.message, error.line]
    kind = type(error)
    line = getattr(error, "lineno", 0) if isinstance(error, SyntaxError) else 0
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == PROGRAM:
            line = trace.tb_lineno
        trace = trace.tb_next
    try:
        message = error.msg if isinstance(error, SyntaxError) else str(error)
    except BaseException:
        message = "?"
    bases = [each.__name__ for each in kind.__mro__]
    return ["raised", kind.__name__, bases, str(message)[:1000], line or 0]

"""Values and calls between two processes, one of which is not to be trusted.

Plain values cross by value, containers with their identity (a list that the callee changes is
changed for the caller), all else as a handle: the other end gets a `ProgramObject` that asks.
"""

from __future__ import annotations

import builtins
import importlib
import json
import os
import re
import sys
from collections import Counter, OrderedDict, defaultdict, deque
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

LIMIT = 64 * 2**20
_EXACT = 2**63
_CONTAINERS = {
    kind.__name__: kind
    for kind in (list, dict, set, bytearray, deque, OrderedDict, Counter, defaultdict)
}
_FROZEN = {"tuple": tuple, "frozenset": frozenset}
_CONSTANTS = {"Ellipsis": Ellipsis, "NotImplemented": NotImplemented}
_VALUES: dict[str, Callable[[Any], list[Any]]] = {
    "builtins.complex": lambda v: [v.real, v.imag],
    "builtins.range": lambda v: [v.start, v.stop, v.step],
    "builtins.slice": lambda v: [v.start, v.stop, v.step],
    "decimal.Decimal": lambda v: [str(v)],
    "fractions.Fraction": lambda v: [v.numerator, v.denominator],
    "datetime.date": lambda v: [v.year, v.month, v.day],
    "datetime.timedelta": lambda v: [v.days, v.seconds, v.microseconds],
    "datetime.time": lambda v: [v.hour, v.minute, v.second, v.microsecond],
    "datetime.datetime": lambda v: [*v.timetuple()[:6], v.microsecond],
}
STDLIB = sys.stdlib_module_names
_DTYPE = re.compile(r"[<>|=]?[biufcUS]\d+")


class Ended(BaseException):
    """The other end is gone."""


class Broken(BaseException):
    """The other end says what no honest one says."""


def flat(container: Any) -> list[Any]:
    """What a container holds; keys and values of a mapping in turn."""
    if isinstance(container, dict):
        return [each for pair in container.items() for each in pair]
    return list(container)


def fill(container: Any, content: list[Any]) -> None:
    """The reverse of `flat`, in place."""
    if isinstance(container, dict):
        container.clear()
        for key, value in zip(content[::2], content[1::2], strict=True):
            container[key] = value  # `update` of a Counter adds
    elif isinstance(container, (list, bytearray)):
        container[:] = content
    else:
        container.clear()
        container.update(content) if isinstance(container, set) else container.extend(content)


class Pipe:
    """Frames of JSON over two file descriptors."""

    def __init__(self, read: int, write: int) -> None:
        self._read, self._write = read, write

    def send(self, message: Any) -> None:
        """Write one."""
        data = json.dumps(message).encode()
        if len(data) > LIMIT:
            raise ValueError(f"a value of more than {LIMIT >> 20} MB")
        left = memoryview(len(data).to_bytes(8, "big") + data)
        try:
            while left:
                left = left[os.write(self._write, left) :]
        except BrokenPipeError:
            raise Ended from None

    def receive(self) -> Any:
        """Wait for one.

        Raises:
            Ended: the other end is gone.
            Broken: it is too large, or no JSON.
        """
        size = int.from_bytes(self._exactly(8), "big")
        if size > LIMIT:
            raise Broken(f"a message of more than {LIMIT >> 20} MB")
        try:
            return json.loads(self._exactly(size))
        except (ValueError, RecursionError) as error:
            raise Broken(str(error)) from None

    def _exactly(self, size: int) -> bytes:
        parts = []
        while size:
            part = os.read(self._read, min(size, 2**20))
            if not part:
                raise Ended
            parts.append(part)
            size -= len(part)
        return b"".join(parts)


class Codec:
    """Values as JSON and back.

    Attributes:
        lent: own objects that the other end has a handle of.
        trusting: whether the other end may name what is to be imported here.
    """

    def __init__(
        self,
        distant: Callable[[int], Any],
        handle: Callable[[Any], int | None],
        *,
        trusting: bool,
    ) -> None:
        self.lent: list[Any] = []
        self.trusting = trusting
        self._places: dict[int, int] = {}
        self._distant, self._handle = distant, handle

    def encode(self, value: Any, seen: list[Any]) -> Any:
        """``value`` as JSON. Containers are added to ``seen``; one that is in it is named only."""
        return self._encode(value, seen, {id(each): at for at, each in enumerate(seen)})

    def _encode(self, value: Any, seen: list[Any], places: dict[int, int]) -> Any:
        kind = type(value)
        if value is None or kind in (bool, str, float):
            return value
        if kind is int:
            return value if -_EXACT < value < _EXACT else ["int", hex(value)]
        name = kind.__name__
        if _CONTAINERS.get(name) is kind:
            if id(value) in places:
                return ["seen", places[id(value)]]
            places[id(value)] = len(seen)
            seen.append(value)
            extra = getattr(value, "default_factory", getattr(value, "maxlen", None))
            head = [name, self._encode(extra, seen, places)]
            return [*head, [self._encode(each, seen, places) for each in flat(value)]]
        if _FROZEN.get(name) is kind:
            return [name, [self._encode(each, seen, places) for each in value]]
        special = self._special(value, kind)
        return self._lend(value) if special is None else special

    def _special(self, value: Any, kind: type) -> Any:
        module: str = kind.__module__
        full = f"{module}.{kind.__qualname__}"
        if kind is bytes:
            return ["bytes", value.hex()]
        zoned = getattr(value, "tzinfo", None) is not None or getattr(value, "fold", False)
        if full in _VALUES and not zoned:
            return ["value", full, *_VALUES[full](value)]
        if kind is type and vars(builtins).get(name := str(value.__name__)) is value:
            return ["type", name]
        if value is Ellipsis or value is NotImplemented:
            return ["constant", str(value)]
        if module == "numpy" and hasattr(value, "dtype") and value.dtype.kind in "biufcUS":
            if kind.__name__ == "ndarray":
                items = [self.encode(each, []) for each in value.ravel().tolist()]
                return ["array", value.dtype.str, list(value.shape), items]
            return self.encode(value.item(), [])
        return None

    def _lend(self, value: Any) -> Any:
        own = self._handle(value)
        if own is not None:
            return ["yours", own]
        if not self.trusting and _importable(value):
            return ["import", value.__module__, value.__qualname__]
        if id(value) not in self._places:
            self._places[id(value)] = len(self.lent)
            self.lent.append(value)
        return ["mine", self._places[id(value)]]

    def decode(self, data: Any, seen: list[Any]) -> Any:
        """The reverse of `encode`.

        Raises:
            Broken: this is not what `encode` makes.
        """
        try:
            return self._decode(data, seen)
        except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
            raise Broken(f"{type(error).__name__}: {error}") from None

    def _decode(self, data: Any, seen: list[Any]) -> Any:
        if not isinstance(data, list):
            return data
        tag = data[0]
        if tag in _CONTAINERS:
            extra = self._decode(data[1], seen) if tag in ("defaultdict", "deque") else None
            made = _CONTAINERS[tag]() if extra is None else _with(tag, extra)
            seen.append(made)
            fill(made, [self._decode(each, seen) for each in data[2]])
            return made
        if tag in _FROZEN:
            return _FROZEN[tag]([self._decode(each, seen) for each in data[1]])
        return self._decode_special(tag, data, seen)

    def _decode_special(self, tag: str, data: list[Any], seen: list[Any]) -> Any:
        if tag == "seen":
            return seen[data[1]]
        if tag == "int":
            return int(data[1], 16)
        if tag == "bytes":
            return bytes.fromhex(data[1])
        if tag == "value" and data[1] in _VALUES:
            return _named(*data[1].rsplit(".", 1))(*data[2:])
        if tag == "type" and isinstance(getattr(builtins, data[1]), type):
            return getattr(builtins, data[1])
        if tag == "constant":
            return _CONSTANTS[data[1]]
        if tag == "array" and _DTYPE.fullmatch(data[1]):
            items = [self._decode(each, seen) for each in data[3]]
            return importlib.import_module("numpy").array(items, data[1]).reshape(data[2])
        if tag == "yours":
            return self.lent[data[1]]
        if tag == "mine" and type(data[1]) is int:
            return self._distant(data[1])
        if tag == "import" and self.trusting:
            return _named(data[1], data[2])
        raise ValueError("unknown tag")


def _with(tag: str, extra: Any) -> Any:
    return deque(maxlen=extra) if tag == "deque" else defaultdict(extra)


def _named(module: str, name: str) -> Any:
    found = importlib.import_module(module)
    for part in name.split("."):
        found = getattr(found, part)
    return found


def _importable(value: Any) -> bool:
    module = getattr(value, "__module__", None)
    name = getattr(value, "__qualname__", None)
    if not (isinstance(module, str) and isinstance(name, str)) or module not in sys.modules:
        return False
    if module.split(".")[0] not in STDLIB:
        return False
    try:
        return _named(module, name) is value
    except AttributeError:
        return False

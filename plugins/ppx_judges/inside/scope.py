"""The tests' own side: the names they see, the program's objects, what the program may ask."""

from __future__ import annotations

import builtins
import importlib
import operator
import sys
import types
from typing import Any

from ppx_judges.inside.talk import ARITHMETIC, COMPARISONS, OPERATIONS, Distant, Peer, Raised
from ppx_judges.inside.wire import STDLIB

TESTS = "<tests>"
OURS = "an object of the tests"
REFUSED: list[str] = []
_MODULE = 0  # the program's module is the first thing that it lends


class Failed(Exception):
    """Tests of a module that did not pass."""

    def __init__(self, verdict: str, reason: str) -> None:
        self.verdict, self.reason = verdict, reason


class ProgramObject(Distant):
    """An object of the program's.

    Compared with anything but another one it is only what it holds as plain data: an ``__eq__`` or
    a ``__sub__`` of the program's has no say in whether an answer is the expected one.
    """

    def _plain(self) -> Any:
        kind, *content = self._ask("view")
        return content[0] if kind == "plain" else NotImplemented

    def __eq__(self, other: Any) -> Any:
        if type(other) is not ProgramObject:
            plain = self._plain()
            return False if plain is NotImplemented else plain == other
        if self is other:
            return True
        return self._ask("eq", other) is True and self._ask("view") == other._ask("view")

    def __ne__(self, other: Any) -> Any:
        return not self == other

    __hash__ = Distant.__hash__


def _binary(name: str, *, turned: bool = False) -> Any:
    function = getattr(operator, f"__{name}__")

    def applied(self: ProgramObject, other: Any) -> Any:
        if type(other) is ProgramObject:
            return self._ask(name, other)
        plain = self._plain()
        if plain is NotImplemented:
            return plain
        return function(other, plain) if turned else function(plain, other)

    return applied


for _name in (*COMPARISONS[2:], *ARITHMETIC):
    setattr(ProgramObject, f"__{_name}__", _binary(_name))
for _name in ARITHMETIC:
    setattr(ProgramObject, f"__r{_name}__", _binary(_name, turned=True))


_MIRRORS: dict[str, type[BaseException]] = {}


def exception(raised: Raised) -> BaseException:
    """An exception of the program's as one of the same name here, with what was told of it."""
    error = _mirror(raised.name, raised.bases)(raised.message)
    error.told = raised  # type: ignore[attr-defined]
    return error


def _mirror(name: str, bases: list[str]) -> type[BaseException]:
    for each in bases:
        base = getattr(builtins, str(each), None)
        if isinstance(base, type) and issubclass(base, BaseException):
            break
    else:
        base = Exception
    if issubclass(base, UnicodeError):
        base = ValueError  # those want five arguments
    if base.__name__ == name:
        return base
    return _MIRRORS.setdefault(name, type(str(name), (base,), {"__module__": "program"}))


def serve(what: str, one: Any, args: tuple[Any, ...], named: dict[str, Any]) -> Any:
    """What the program may do with an object of the tests: call it, go through it, read it.

    Names with an underscore would lead from any function to all that this process has.
    """
    if what in ("call", "next", "iter"):
        return OPERATIONS[what](one, *args, **named)
    ours = type(one).__module__ == TESTS and not isinstance(one, type)
    if ours and what in ("getattr", "setattr") and not str(args[0]).startswith("_"):
        return OPERATIONS[what](one, *args)
    if ours and what in ("str", "repr", "len", "bool", "getitem", *COMPARISONS):
        return OPERATIONS[what](one, *args)
    REFUSED.append(what)
    raise TypeError(f"{what} of {type(one).__name__}, {OURS}")


def is_limit(text: str) -> bool:
    """Whether an error of the tests comes from what a `ProgramObject` is not."""
    return ProgramObject.__name__ in text or "<coroutine object" in text or bool(REFUSED)


class Tests:
    """The tests of one job, over the names of one program.

    Attributes:
        passed: assertions, or tests of a module, that were checked and held.
    """

    def __init__(self, job: dict[str, Any], peer: Peer) -> None:
        self.passed = 0
        self._job, self._peer, self._at = job, peer, -1
        self._live: list[str] = []

    @property
    def place(self) -> str:
        """Which assertion is being checked, in words."""
        if self._at < 0:
            return ""
        return f"assertion {self._at + 1} of {len(self._job['asserts'])}"

    @property
    def source(self) -> str:
        """The assertion that is being checked."""
        return str(self._job["asserts"][self._at]) if self._at >= 0 else ""

    def _checking(self, number: int) -> None:
        self._at = number

    def _checked(self) -> None:
        self.passed, self._at = self.passed + 1, -1

    def run(self) -> None:
        """Run them all.

        Raises:
            Failed: tests of a module did not pass. What else the tests raise comes through.
        """
        sys.path += self._job["extra"]
        module = sys.modules[TESTS] = types.ModuleType(TESTS)
        space = module.__dict__
        space |= {"__checking__": self._checking, "__checked__": self._checked}
        self._take_names(space)
        for source in self._job["steps"]:
            self._refresh(space)
            exec(compile(source, TESTS, "exec", dont_inherit=True), space)
        for name in self._job["functions"]:
            space[name]()
            self.passed += 1
        self._run_cases(space)

    def _take_names(self, space: dict[str, Any]) -> None:
        """The program's names that the tests use; a builtin is never the program's."""
        for name, (kind, *what) in self._ask_names(self._job["names"]).items():
            if kind == "module" or (kind == "object" and name in self._job["modules"]):
                space[name] = self._module(what[0] if kind == "module" else name, name)
            elif kind == "exception":
                space[name] = _mirror(what[0], what[1])
            else:
                space[name] = what[0]
                self._live += [name] if kind == "data" else []

    def _ask_names(self, names: list[str]) -> dict[str, Any]:
        # Only what was asked for: a name more could stand in for one of the tests' own.
        told = self._peer.ask("names", _MODULE, names) if names else {}
        return {name: told[name] for name in names if name in told}

    def _module(self, said: Any, name: str) -> Any:
        # A name of the standard library is that library, whatever the program made of it.
        wanted = name if name in STDLIB else str(said)
        if wanted.split(".")[0] not in STDLIB and wanted not in self._job["packages"]:
            raise Failed("unknown", f"the tests use the module {wanted} of the program")
        return importlib.import_module(wanted)

    def _refresh(self, space: dict[str, Any]) -> None:
        """Variables of the program as they are now."""
        for name, (kind, *what) in self._ask_names(self._live).items():
            if kind == "data":
                space[name] = what[0]

    def _run_cases(self, space: dict[str, Any]) -> None:
        unittest = sys.modules.get("unittest")
        if unittest is None:
            return
        cases = [each for each in space.values() if type(each) is type]
        for case in cases:
            if issubclass(case, unittest.TestCase) and case.__module__ == TESTS:
                self._run_case(unittest, case)

    def _run_case(self, unittest: Any, case: Any) -> None:
        found = unittest.TestResult()
        found.failfast = True
        unittest.defaultTestLoader.loadTestsFromTestCase(case).run(found)
        for test, trace in (*found.errors, *found.failures):
            why = trace.strip().splitlines()[-1]
            verdict = "unknown" if is_limit(why) else "wrong"
            raise Failed(verdict, f"{test.id().removeprefix(TESTS + '.')}: {why}")
        if found.unexpectedSuccesses:
            raise Failed("wrong", "a test that is to fail passed")
        self.passed += found.testsRun - len(found.skipped)

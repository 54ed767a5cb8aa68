"""The tests of a row, read and made ready for the checker."""

from __future__ import annotations

import ast
import builtins
import functools
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

COLUMNS = ("tests", "test_list")
SETUP = ("test_setup_code", "test_imports")
_BUILTINS = frozenset(dir(builtins))
_PROGRAMS = {"solution", "program", "answer", "submission"}


class UnreadableTestsError(ValueError):
    """There are no tests, or they cannot be read; the message says which."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Checks:
    """Tests as the checker runs them.

    Attributes:
        what: all of them, in words.
        steps: statements that are run one after the other, setup first.
        asserts: source of each assertion.
        names: what they may take from the program; ``modules`` of these are used as modules.
        imports: their own imports, which a program may rely on.
        functions: tests that are functions, to be called.
        cases: pairs of ``input`` and ``output``; where there are any, nothing else is there.
    """

    what: str
    steps: tuple[str, ...] = ()
    asserts: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()
    imports: tuple[str, ...] = ()
    functions: tuple[str, ...] = ()
    cases: tuple[tuple[str, str], ...] = ()


def checks_of(row: Mapping[str, Any], column: str | None, setup: str | None) -> Checks:
    """The tests in a row.

    Args:
        row: the user's columns; ``entry_point`` names what a ``check`` in the tests is given.
        column: with the tests; None looks for one of `COLUMNS`.
        setup: with code before the tests; None takes those of `SETUP` that are there.

    Raises:
        UnreadableTestsError: there are none, or they cannot be read.
    """
    tests = _found(row, column)
    before = [_text(row[name]) for name in ((setup,) if setup else SETUP) if _given(row, name)]
    if isinstance(tests, str):
        tests = _as_list(tests)
    if isinstance(tests, str):
        entry = row.get("entry_point")
        return _assertions((tests,), tuple(before), entry if isinstance(entry, str) else "")
    if all(isinstance(each, str) for each in tests):
        return _assertions(tuple(tests), tuple(before), "")
    return Checks(what=_count(len(tests), "input"), cases=tuple(_case(each) for each in tests))


def _given(row: Mapping[str, Any], name: str) -> bool:
    value = row.get(name)
    return value is not None and len(value) > 0


def _found(row: Mapping[str, Any], column: str | None) -> Any:
    for name in (column,) if column else COLUMNS:
        value: Any = row.get(name)
        value = value.tolist() if hasattr(value, "tolist") else value
        if isinstance(value, str):
            if value.strip():
                return value
        elif isinstance(value, Sequence) and len(value):
            return value
        elif value is not None and not isinstance(value, Sequence):
            raise UnreadableTestsError(f"tests in {name!r} are a {type(value).__name__}")
    wanted = repr(column) if column else " or ".join(map(repr, COLUMNS))
    raise UnreadableTestsError(f"the row has no tests (column {wanted})")


def _as_list(text: str) -> Any:
    """A list that was written as JSON; else the text."""
    if not text.lstrip().startswith("["):
        return text
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return value or text


def _case(case: Any) -> tuple[str, str]:
    if not isinstance(case, Mapping) or not {"input", "output"} <= set(case):
        raise UnreadableTestsError(f"a test is neither text nor {{input, output}}: {case!r:.80}")
    return _text(case["input"]), _text(case["output"])


def _text(value: Any) -> str:
    """Text as it is; a list as its lines."""
    return value if isinstance(value, str) else "\n".join(map(str, value))


def _count(number: int, what: str) -> str:
    return f"the {what}" if number == 1 else f"all {number} {what}s"


@functools.lru_cache(maxsize=256)
def _assertions(tests: tuple[str, ...], before: tuple[str, ...], entry: str) -> Checks:
    setup = [_parsed(each, "setup code") for each in before]
    trees = [_parsed(each, "tests") for each in tests]
    body = [node for tree in trees for node in tree.body]
    functions = _functions(body)
    if entry.isidentifier() and "check" in {each.name for each in functions} - _called(body):
        trees.append(ast.parse(f"check({entry})"))
    reader = _Reader()
    # One statement at a time: between two of them the program's variables are looked up anew.
    steps = [ast.unparse(node) for tree in (*setup, *trees) for node in reader.visit(tree).body]
    cases = any(isinstance(node, ast.ClassDef) for node in body)
    if not reader.asserts and not cases:
        raise UnreadableTestsError("there is no assertion in the tests")
    used = reader.used - reader.stored
    # A builtin is the program's only where nothing else in the tests could be.
    names = used - _BUILTINS or used
    return Checks(
        what="the tests" if cases or functions else _count(len(reader.asserts), "assertion"),
        steps=tuple(steps),
        asserts=tuple(reader.asserts),
        names=tuple(sorted(names)),
        modules=tuple(sorted((names & reader.dotted & sys.stdlib_module_names) - reader.called)),
        imports=tuple(reader.imports),
        functions=tuple(
            each.name
            for each in functions
            if each.name.startswith("test") and each.name not in _called(body)
        ),
    )


def _parsed(source: str, what: str) -> ast.Module:
    text = source.replace("\r\n", "\n").replace("\r", "\n").strip()
    try:
        return ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise UnreadableTestsError(
            f"the {what} cannot be read: {error}: {text.splitlines()[0][:80]}"
        ) from None


def _functions(body: list[ast.stmt]) -> list[ast.FunctionDef]:
    """Functions that can be called without arguments, and ``check``."""
    return [
        node
        for node in body
        if isinstance(node, ast.FunctionDef)
        and (node.name == "check" or not (node.args.args or node.args.kwonlyargs))
    ]


def _called(body: list[ast.stmt]) -> set[str]:
    return {
        node.func.id
        for statement in body
        for node in ast.walk(statement)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }


class _Reader(ast.NodeTransformer):
    """Notes the names that tests use, and lets them tell before and after each assertion."""

    def __init__(self) -> None:
        self.asserts: list[str] = []
        self.imports: list[str] = []
        self.used: set[str] = set()
        self.stored: set[str] = set()
        self.dotted: set[str] = set()
        self.called: set[str] = set()

    def visit_Assert(self, node: ast.Assert) -> list[ast.stmt]:
        self.asserts.append(ast.unparse(node)[:200])
        number = len(self.asserts) - 1
        checking, checked = ast.parse(f"__checking__({number})\n__checked__()").body
        self.generic_visit(node)
        return [checking, node, checked]

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        self.generic_visit(node)
        ran = ast.unparse(node.value).startswith("unittest.main(")
        return ast.copy_location(ast.Pass(), node) if ran else node

    def visit_Name(self, node: ast.Name) -> ast.Name:
        (self.used if isinstance(node.ctx, ast.Load) else self.stored).add(node.id)
        return node

    def visit_arg(self, node: ast.arg) -> ast.arg:
        self.stored.add(node.arg)
        return node

    def visit_Call(self, node: ast.Call) -> ast.AST:
        if isinstance(node.func, ast.Name):
            self.called.add(node.func.id)
        return self.generic_visit(node)

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        if isinstance(node.value, ast.Name):
            self.dotted.add(node.value.id)
        return self.generic_visit(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        self.stored.add(node.name)
        return self.generic_visit(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        self.stored.add(node.name)
        return self.generic_visit(node)

    def visit_Import(self, node: ast.Import) -> ast.AST:
        self.imports.append(ast.unparse(node))
        self.stored |= {(each.asname or each.name).split(".")[0] for each in node.names}
        return node

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST:
        module = (node.module or "").split(".")[0]
        if module not in _PROGRAMS:
            self.imports.append(ast.unparse(node))
            self.stored |= {each.asname or each.name for each in node.names}
            return node
        # The program under the name that the tests know it by: its names are there already.
        self.used |= {each.name for each in node.names}
        renamed = [f"{each.asname} = {each.name}" for each in node.names if each.asname]
        body = ast.parse("\n".join(renamed) or "pass").body
        return ast.If(test=ast.Constant(True), body=body, orelse=[])

"""The code judge on tests and programs of all shapes, and on real labelled answers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pydantic
import pytest

from ppx_ext import Answer, Judgement
from ppx_judges.code import CODE
from ppx_judges.extract import NoProgramError, program_of
from ppx_judges.settings import CodeSettings
from tests.plugins.judges.sandboxed import Opened, needs_bubblewrap, opened

pytestmark = pytest.mark.timeout(600)
CORRECT, WRONG, UNKNOWN = Judgement.CORRECT, Judgement.WRONG, Judgement.UNKNOWN


@pytest.fixture(scope="module")
def judge() -> Iterator[Opened]:
    with opened() as found:
        yield found


# ------------------------------------------------------------------------- the program


@pytest.mark.parametrize(
    ("response", "program"),
    [
        ("Here:\n```python\nx = 1\n```\nand\n```python\ny = 2\n```", "x = 1"),
        ("```\nx = 1\n```", "x = 1"),
        ("```bash\npip install it\n```\n```python\nx = 1\n```", "x = 1"),
        ("```bash\nls\n```", "ls"),
        ("```Python\r\nx = 1\r\ny = 2\r\n```", "x = 1\ny = 2"),
        ("1. So:\n   ```python\n   def f():\n       return 1\n   ```", "def f():\n    return 1"),
        ("```x = 1```", "x = 1"),
        ("```\npython\nx = 1\n```", "python\nx = 1"),  # as the authors' labels have it
        ("[BEGIN]\nx = 1\n[DONE]\nThat is it.", "x = 1"),
        ("x = 1\n[DONE]\nWrite another.\n[BEGIN]\ny = 2\n[DONE]", "x = 1"),
        ("x = 1\n[DONE]\n```python\ny = 2\n```", "x = 1"),
        ("```python\nx = 1\n```\n[DONE]", "x = 1"),
        ("x = 1\n", "x = 1"),
    ],
)
def test_the_program_in_a_response(response: str, program: str) -> None:
    assert program_of(response) == program


@pytest.mark.parametrize(
    "response", ["", " \n", "```python\n```", "```python\nx = 1", "[BEGIN][DONE]"]
)
def test_a_response_without_a_whole_program(response: str) -> None:
    with pytest.raises(NoProgramError):
        program_of(response)


# ------------------------------------------------------------------------- the verdict

ONE = "assert f(1) == 2"


@needs_bubblewrap
@pytest.mark.parametrize(
    ("response", "reason"),
    [
        ("", "there is no code in the response"),
        ("```python\ndef f(x): return 2", "the code block is not closed: the response was cut"),
        ("def f(x) return 2", "SyntaxError: expected ':' (line 1 of the program)"),
        ("def f(x): return 3", f"assertion 1 of 1 failed: {ONE}"),
        (
            "def g(x): return 2",
            f"assertion 1 of 1 raised NameError: name 'f' is not defined: {ONE}",
        ),
        (
            "def f(x):\n    return {}[x]",
            f"assertion 1 of 1 raised KeyError: 1 (line 2 of the program): {ONE}",
        ),
        (
            "import no_such_module",
            "ModuleNotFoundError: No module named 'no_such_module' (line 1 of the program)",
        ),
        (
            "x = input()\ndef f(x): return 2",
            "EOFError: EOF when reading a line (line 1 of the program)",
        ),
    ],
)
def test_why_it_is_wrong(judge: Opened, response: str, reason: str) -> None:
    verdict = judge(response, [ONE])
    assert (verdict.judgement, verdict.reason) == (WRONG, reason)


@needs_bubblewrap
def test_which_assertion_failed(judge: Opened) -> None:
    verdict = judge("def f(x): return 2", [ONE, "assert f(2) == 3", "assert f(3) == 4"])
    assert verdict.reason == "assertion 2 of 3 failed: assert f(2) == 3"
    assert judge("def f(x): return x + 1", [ONE, "assert f(2) == 3"]).reason == (
        "all 2 assertions passed"
    )


@needs_bubblewrap
@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({}, "no tests"),
        ({"tests": None}, "no tests"),
        ({"tests": []}, "no tests"),
        ({"tests": "  "}, "no tests"),
        ({"tests": 7}, "tests in 'tests' are a int"),
        ({"tests": "assert f("}, "cannot be read"),
        ({"tests": ["assert f(1) == 1", "assert ("]}, "cannot be read"),
        ({"tests": "f(1)"}, "no assertion"),
        ({"tests": "if False:\n    assert f(1) == 2"}, "without one assertion that was checked"),
        ({"tests": "def check(f):\n    assert f(1) == 2"}, "without one assertion"),
        ({"tests": "import unittest\nclass T(unittest.TestCase): pass"}, "without one assertion"),
        ({"tests": [{"input": "1"}]}, "neither text nor {input, output}"),
        ({"tests": "import pandas\nassert f(1) == 2"}, "does not have"),
        ({"tests": ONE, "test_setup_code": "x = ("}, "setup code cannot be read"),
    ],
)
def test_what_the_tests_do_not_tell_is_unknown(
    judge: Opened, row: dict[str, Any], reason: str
) -> None:
    verdict = judge.all([Answer(row=row, response="def f(x): return 2")])[0]
    assert verdict.judgement is UNKNOWN
    assert reason in verdict.reason


@needs_bubblewrap
@pytest.mark.parametrize(
    ("program", "tests"),
    [
        # Containers that the program changes are changed for the tests, and stay the same ones.
        ("def f(a):\n    a.sort()\n    a[0].append(9)\n    return a", "a = [[3], [1]]\nb = a[1]\n"
         "assert f(a) is a\nassert a == [[1, 9], [3]]\nassert b == [1, 9]"),
        ("def f(d): d['x'] = d", "d = {}\nf(d)\nassert d['x'] is d"),
        # Classes of the program, and objects of them.
        ("class P:\n    def __init__(self, a): self.a = a\ndef f(ps): return sum(p.a for p in ps)",
         "assert f([P(1), P(2)]) == 3\np = P(1)\np.a = 5\nassert f([p]) == 5 and p.a == 5"),
        ("class S(list):\n    def push(self, x): self.append(x)", "s = S()\ns.push(1)\n"
         "assert s == [1] and len(s) == 1 and s[0] == 1 and 1 in s and list(s) == [1]"),
        ("from dataclasses import dataclass\n@dataclass\nclass P:\n    x: int\n"
        "def f(): return P(1)",
         "assert f() == P(1)\nassert f() != P(2)"),
        ("from collections import namedtuple\nP = namedtuple('P', 'x y')\ndef f(): return P(1, 2)",
         "assert f() == (1, 2) == P(1, 2) and f().y == 2\na, b = f()\nassert b == 2"),
        ("class E(ValueError): pass\ndef f(): raise E('bad')",
         "try:\n    f()\nexcept E as error:\n    assert str(error) == 'bad'\nelse:\n"
         "    assert False"),
        # Functions of the tests, and generators of the program.
        ("def f(g, x): return g(x)", "assert f(lambda y: 2 * y, 4) == 8 and f(len, 'ab') == 2"),
        ("def f():\n    n = 0\n    while True:\n        yield n\n        n += 1",
         "from itertools import islice\nassert list(islice(f(), 3)) == [0, 1, 2]"),
        ("def f(n): return n.value + n.next.value", "class N:\n    def __init__(self, v, n=None):\n"
         "        self.value, self.next = v, n\nassert f(N(1, N(2))) == 3"),
        # Values of all kinds, as they are.
        ("import decimal, fractions, datetime, collections, sys\n"
         "def f(): return [1, True, 1.5, float('inf'), 10**5000, 1j, b'x', 'é\\ud800', None, ...,"
         " (1,), {2}, frozenset({3}), {(1, 2): [3]}, range(3), decimal.Decimal('1.10'),"
         " fractions.Fraction(1, 3), datetime.date(2020, 1, 2), collections.Counter('aab'),"
         " collections.deque([1], 5), collections.OrderedDict(a=1), int]",
         "import decimal, fractions, datetime, collections\nassert f() == [1, True, 1.5, "
         "float('inf'), 10**5000, 1j, b'x', 'é\\ud800', None, ..., (1,), {2}, frozenset({3}), "
         "{(1, 2): [3]}, range(3), decimal.Decimal('1.10'), fractions.Fraction(1, 3), "
         "datetime.date(2020, 1, 2), collections.Counter('aab'), collections.deque([1], 5), "
         "collections.OrderedDict(a=1), int]\nassert f()[1] is True and f()[0] is not True"),
        ("import numpy as np\ndef f(): return np.int64(2), np.arange(3)",
         "assert f()[0] == 2\nassert (f()[1] == np.array([0, 1, 2])).all()"),
        # Names.
        ("def sum(a, b): return 6", "assert sum(10, 15) == 6"),
        ("import math\ndef f(): return math.pi", "assert math.isclose(f(), 3.14, rel_tol=0.01)"),
        ("count = 0\ndef f():\n    global count\n    count += 1", "f()\nf()\nassert count == 2"),
        ("def f(x): return math.floor(x)", "import math\nassert f(1.5) == 1"),
        ("def f(x): return x\nif __name__ == '__main__': 1 / 0", "assert f(1) == 1"),
        ("print('x' * 1000)\ndef f(x):\n    print(x)\n    return x", "assert f(1) == 1"),
        # Shapes of tests.
        ("def f(x): return x", ["assert f(1) == 1", "assert f(2) == 2"]),
        ("def f(x): return x", '["assert f(1) == 1"]'),
        ("def f(x): return x", "def test_it():\n    assert f(1) == 1"),
        ("def f(x): return x", "def check(c):\n    assert c(1) == 1\ncheck(f)"),
        ("def f(x): return x", "import unittest\nfrom solution import f as g\n"
         "class T(unittest.TestCase):\n    def test_it(self):\n        self.assertEqual(g(1), 1)\n"
         "        with self.assertRaises(TypeError):\n            g()\nunittest.main()"),
        ("print(int(input()) * 2)",
         [{"input": "4", "output": "8\n"}, {"input": "5\n", "output": "10"}]),
        ("import sys\nprint(sys.stdin.read().split())\nsys.exit(0)",
         [{"input": "a\nb", "output": "['a', 'b']  \n\n"}]),
    ],
)  # fmt: skip
def test_what_is_right_is_correct(judge: Opened, program: str, tests: Any) -> None:
    verdict = judge(program, tests)
    assert verdict.judgement is CORRECT, verdict.reason


@needs_bubblewrap
@pytest.mark.parametrize(
    ("program", "tests"),
    [
        ("def f(): return (1, 2)", "assert f() == [1, 2]"),
        ("def f(): return range(2)", "assert f() == [0, 1]"),
        ("def f(): return map(int, '12')", "assert f() == [1, 2]"),
        ("def f(): return 1", "assert f() is True"),
        ("class A:\n    def __sub__(self, other): return 0.0\n    __rsub__ = __sub__\n"
         "def f(): return A()", "assert abs(f() - 3.14) < 1e-6"),
        ("class A:\n    def __lt__(self, other): return True\n    __gt__ = __lt__\n"
         "def f(): return A()", "assert 3 < f() < 4"),
        ("class A:\n    def __contains__(self, x): return True\n    def __iter__(self):\n"
         "        return iter([])\ndef f(): return A()", "assert 'x' in f()"),
        ("set = sorted = len = lambda *a: True\ndef f(): return 7", "assert set(f()) == set([1])"),
        ("class math:\n    isclose = staticmethod(lambda *a, **k: True)\ndef f(): return 1",
         "assert math.isclose(f(), 3.14)"),
        ("def f(): import sys; sys.exit(0)", "import unittest\nclass T(unittest.TestCase):\n"
         "    def test_it(self): self.assertEqual(f(), 1)"),
        ("def f(): import os; os._exit(0)", "import unittest\nclass T(unittest.TestCase):\n"
         "    def test_it(self): self.assertEqual(f(), 1)"),
        ("import unittest\ndef f(): raise unittest.SkipTest('no')", "import unittest\n"
         "class T(unittest.TestCase):\n    def test_it(self): self.assertEqual(f(), 1)"),
        ("print(8)\n1 / 0", [{"input": "4", "output": "8"}]),
        ("print(8)", [{"input": "4", "output": "8"}, {"input": "5", "output": "10"}]),
        ("print('8 ')\nprint()\nprint(9)", [{"input": "", "output": "8\n9"}]),
        ("import os\nfor fd in range(3, 99):\n    try: os.write(fd, b'8')\n"
        "    except OSError: pass",
         [{"input": "4", "output": "8"}]),
        ("open('/proc/self/fd/0', 'w').write('8')", [{"input": "4", "output": "8"}]),
    ],
)  # fmt: skip
def test_what_is_not_right_is_not_correct(judge: Opened, program: str, tests: Any) -> None:
    assert not judge(program, tests).correct


@needs_bubblewrap
def test_what_cannot_be_carried_over_is_unknown(judge: Opened) -> None:
    for program, tests in (
        ("class V:\n    def __mul__(self, n): return 1", "assert V() * 3 == 1"),
        ("async def f(): return 1", "import asyncio\nassert asyncio.run(f()) == 1"),
        ("def f(n): return n._v", "class N: _v = 1\nassert f(N()) == 1"),
    ):
        verdict = judge(program, tests)
        assert (verdict.judgement, "carried over" in verdict.reason) == (UNKNOWN, True)


@needs_bubblewrap
def test_equal_answers_are_judged_once_and_all_keep_their_places(judge: Opened) -> None:
    rows = [("def f(x): return 2", ONE), ("def f(x): return 3", ONE), ("", ONE), ("x = 1", "")]
    asked = [rows[at % 4] for at in range(400)]
    answers = [Answer(row={"tests": tests}, response=program) for program, tests in asked]
    found = [verdict.judgement for verdict in judge.all(answers)]
    assert found == [CORRECT, WRONG, WRONG, UNKNOWN] * 100


@needs_bubblewrap
def test_columns_and_setup(judge: Opened) -> None:
    row = {"mine": ["assert f(x) == 2"], "before": "x = 1", "tests": ["assert f(1) == 7"]}
    with opened(tests="mine", setup="before", sessions=1) as named:
        assert named.all([Answer(row=row, response="def f(x): return x + 1")])[0].correct
    assert CODE.columns(CodeSettings(tests="mine", setup="before")) == ["mine", "before"]
    row = {"test_list": ["assert g(root) == 4"], "test_setup_code": "root = Node(4)"}
    program = "class Node:\n    def __init__(self, v): self.v = v\ndef g(n): return n.v"
    assert judge.all([Answer(row=row, response=program)])[0].correct


@needs_bubblewrap
def test_a_package_that_is_not_shown_is_missing() -> None:
    program = "import numpy\ndef f(x): return int(numpy.int64(x))"
    with opened(sessions=1, packages=()) as bare:
        assert "No module named 'numpy'" in bare(program, "assert f(1) == 1").reason
    with (
        pytest.raises(ValueError, match="no package 'no_such_one'"),
        opened(packages=("no_such_one",)),
    ):
        pytest.fail("it was opened")


def test_settings() -> None:
    for wrong in ({"sandbox": "none"}, {"sandbox": "fusion"}, {"url": "http://x"}, {"timeout": 0}):
        with pytest.raises(pydantic.ValidationError):
            CodeSettings.model_validate(wrong)
    assert "llm-sandbox 0." in CODE.version()

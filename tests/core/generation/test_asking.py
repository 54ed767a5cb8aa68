"""What was answered is never asked again: in a call, in the next run, after a kill."""

from __future__ import annotations

import json
import logging
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ppx_ext.answering import Decoding, Failure, LentModel, Request, Response
from ppx_ext.generation import GenerationStoppedError
from ppx_ext.generation.ledger import Ledger, key_of
from tests.core.generation import counting
from tests.core.generation.counting import Settings, engine, opened, reply, requests

ROOT = Path(__file__).parents[3]


def broken(request: Request) -> Failure:
    return Failure(reason="no route to host")


def test_each_request_is_asked_once_and_answers_are_in_order(tmp_path: Path) -> None:
    asked: list[Request] = []
    told: list[Any] = []
    three = requests(3)
    with opened(engine(asked.append, reply), tmp_path, advance=told.append) as ask:
        assert ask([]) == []
        assert ask([three[0], three[1], three[0]]) == [reply(three[n]) for n in (0, 1, 0)]
        assert ask(three) == [reply(request) for request in three]
    assert asked == [three[1], three[0], three[2]]
    assert ask.numbers() == {
        "requests_asked": 3,
        "requests_kept": 2,
        "requests_failed": 0,
        "failures": {},
    }
    assert Counter(map(id, told)).total() == 5


def test_a_finished_job_opens_no_engine(tmp_path: Path) -> None:
    with opened(engine(lambda request: None, reply), tmp_path) as ask:
        expected = ask(requests())
    gone = replace(engine(print, reply), open=None)  # type: ignore[arg-type]
    with opened(gone, tmp_path) as ask:
        assert ask(requests()) == expected
        with pytest.raises(TypeError, match="not callable"):
            ask.preflight()


@pytest.mark.parametrize(
    ("change", "again"),
    [
        ({"settings": Settings(tone="rude")}, True),
        ({"fingerprint": "other weights"}, True),
        ({"settings": Settings(address="elsewhere")}, False),
    ],
)
def test_settings_that_change_an_answer_are_another_job(
    tmp_path: Path, change: dict[str, Any], again: bool
) -> None:
    asked: list[Request] = []
    counted = engine(asked.append, reply)
    for settings_of_run in ({}, change, {}, change):
        with opened(counted, tmp_path, **settings_of_run) as ask:
            ask(requests(2))
    assert len(asked) == (4 if again else 2)
    firsts = [path.read_text().splitlines()[0] for path in tmp_path.glob("*/answers-*.jsonl")]
    assert len(firsts) == 1 + again
    assert {json.loads(first)["job"]["engine"] for first in firsts} == {"counting"}


def test_a_server_is_known_by_its_models_name(tmp_path: Path) -> None:
    asked: list[Request] = []
    for remote, expected in ((False, 1), (True, 2)):
        asked.clear()
        for name in ("one", "another"):
            generator = replace(engine(asked.append, reply), remote=remote)
            lent = LentModel(name=name, load=lambda: None, tokenizer=None)
            stage = counting.Stage(component=generator, settings=Settings())
            with counting.open_generator(stage, lent, tmp_path, fingerprint="f") as ask:
                ask(requests(1))
        assert len(asked) == expected


MESSAGES = st.lists(
    st.fixed_dictionaries({"role": st.sampled_from(["user", "system"]), "content": st.text()}),
    min_size=1,
    max_size=2,
).map(tuple)
REQUESTS = st.builds(
    Request,
    prompt=st.one_of(st.text(max_size=4), MESSAGES),
    decoding=st.builds(
        Decoding,
        temperature=st.sampled_from([0.0, 1.0]),
        stop=st.sampled_from([(), ("\n",), ("\n", "#")]),
    ),
    seed=st.integers(0, 2),
    prefix=st.sampled_from(["", "So"]),
)


@given(REQUESTS, REQUESTS)
def test_requests_share_a_key_if_and_only_if_they_are_equal(one: Request, other: Request) -> None:
    assert (key_of(one) == key_of(other)) == (one == other)


@settings(max_examples=25)
@given(
    st.lists(st.builds(Response, text=st.text(), tokens=st.none() | st.integers()), max_size=5),
    st.integers(0, 400),
)
def test_a_torn_tail_loses_one_answer_and_no_more(answers: list[Response], torn: int) -> None:
    """Cut at any byte, as a kill in the middle of a write would leave it."""
    with tempfile.TemporaryDirectory() as folder:
        keys = [f"{number:032x}" for number in range(len(answers))]
        ledger = Ledger(Path(folder), {"engine": "e"})
        for key, answer in zip(keys, answers, strict=True):
            ledger.add(key, answer)
            assert ledger.get(key) == answer
        ledger.close()
        paths = list(Path(folder).iterdir())
        whole = paths[0].read_bytes() if paths else b""
        left = whole[: max(len(whole) - torn, 0)]
        for path in paths:
            path.write_bytes(left)
        again = Ledger(Path(folder), {})
        kept = max(left.count(b"\n") - 1, 0)  # the first line names the job
        assert [again.get(key) for key in keys] == [
            *answers[:kept],
            *[None] * (len(answers) - kept),
        ]
        for key, answer in list(zip(keys, answers, strict=True))[kept:]:
            again.add(key, answer)
        again.close()
        last = Ledger(Path(folder), {})
        assert [last.get(key) for key in keys] == answers
        last.close()


def test_a_line_that_cannot_be_read_is_named_and_asked_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    asked: list[Request] = []
    with opened(engine(asked.append, reply), tmp_path) as ask:
        expected = ask(requests(3))
    (path,) = tmp_path.glob("*/answers-*.jsonl")
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + lines[1] + b"\0" * 20 + b"\n" + b"".join(lines[3:]))
    asked.clear()
    with opened(engine(asked.append, reply), tmp_path) as ask:
        assert ask(requests(3)) == expected
    assert asked == [requests(3)[1]]  # the last request was answered first
    assert f"{path}, line 3 was torn" in caplog.text


def start(folder: Path, log: Path, seconds: float) -> subprocess.Popen[bytes]:
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen(
        [sys.executable, "-m", "tests.core.generation.counting", folder, log, str(seconds)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": path},
    )


def test_killed_at_any_moment_it_asks_for_nothing_that_it_has(tmp_path: Path) -> None:
    folder, log = tmp_path / "jobs", tmp_path / "log"
    for lines in (3, 9, 20):
        process = start(folder, log, 0.1)
        while not log.exists() or len(log.read_text().splitlines()) < lines:
            assert process.poll() is None
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        process.wait()
    killed = len(log.read_text().splitlines())
    assert killed < counting.REQUESTS
    assert start(folder, log, 0.0).wait() == 0
    asked = Counter(log.read_text().splitlines())
    assert len(asked) == counting.REQUESTS
    # Each kill hits the one request that was being answered, which alone is asked again.
    assert asked.total() <= counting.REQUESTS + 3
    before = log.read_text()
    assert start(folder, log, 0.0).wait() == 0
    assert log.read_text() == before


def test_two_processes_may_work_at_one_job(tmp_path: Path) -> None:
    folder = tmp_path / "jobs"
    both = [start(folder, tmp_path / name, 0.01) for name in ("a", "b")]
    assert [process.wait() for process in both] == [0, 0]
    asked: list[Request] = []
    with opened(engine(asked.append, reply), folder) as ask:
        assert ask(requests()) == [reply(request) for request in requests()]
    assert asked == []


def test_without_room_it_says_so_and_loses_nothing(tmp_path: Path) -> None:
    asked: list[Request] = []
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    # A file that may not grow fails in the middle of a line, as a full disk does.
    with opened(engine(asked.append, reply), tmp_path) as ask:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
        try:
            with pytest.raises(OSError, match="make room and run the same command again"):
                ask(requests())
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        first = len(asked)
        assert first > 3
        # In the same run, once there is room: only what was not kept is asked.
        assert ask(requests()) == [reply(request) for request in requests()]
    assert len(asked) == counting.REQUESTS + 1
    with opened(engine(asked.append, reply), tmp_path) as ask:
        ask(requests())
    assert len(asked) == counting.REQUESTS + 1


def test_failures_are_counted_named_and_asked_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def odd(request: Request) -> Response | Failure:
        return broken(request) if request.seed % 2 else reply(request)

    asked: list[Request] = []
    with opened(engine(asked.append, odd), tmp_path) as ask:
        found = ask(requests(6))
        assert found == [odd(request) for request in requests(6)]
    assert ask.numbers()["requests_failed"] == 3
    assert ask.numbers()["failures"] == {"no route to host": 3}
    assert "3 of 6 requests to 'counting' were not answered" in caplog.text
    asked.clear()
    with opened(engine(asked.append, reply), tmp_path) as ask:
        assert ask(requests(6)) == [reply(request) for request in requests(6)]
    assert len(asked) == 3


def test_many_failures_in_a_row_stop_the_job_with_the_cause(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def dead_until_5(request: Request) -> Response | Failure:
        return reply(request) if request.seed == 5 else broken(request)

    asked: list[Request] = []
    with (
        caplog.at_level(logging.ERROR),
        opened(engine(asked.append, dead_until_5), tmp_path, max_failures_in_row=8) as ask,
    ):
        ask(requests(6)[1:])  # answers 5 first, and then fails four times
        with pytest.raises(GenerationStoppedError) as stopped:
            ask([replace(request, seed=100) for request in requests()])
    assert "8 requests in a row were not answered by 'counting'" in str(stopped.value)
    assert "8 times: no route to host" in str(stopped.value)
    assert "1 answers that are there are kept" in str(stopped.value)
    assert len(asked) == 5 + 4


def test_a_thousand_is_the_default(tmp_path: Path) -> None:
    asked: list[Request] = []
    with opened(engine(asked.append, broken), tmp_path) as ask:
        assert ask(requests(999)) == [broken(request) for request in requests(999)]
        with pytest.raises(GenerationStoppedError, match="1000 requests in a row"):
            ask(requests(5))
    assert len(asked) == 1000


def test_engines_that_say_too_little_or_too_much_are_found_out(tmp_path: Path) -> None:
    def of(ask: Any) -> Any:
        return replace(
            engine(print, reply), open=lambda settings, model: counting.contextlib.nullcontext(ask)
        )

    with opened(of(lambda requests: [(1, reply(requests[1]))]), tmp_path) as ask:
        first, second = ask(requests(2))
    assert first == Failure(reason="the engine 'counting' gave no answer to this request")
    assert second == reply(requests(2)[1])
    one = reply(requests(1)[0])
    for job, wrong in (("twice", [(0, one), (0, one)]), ("unknown", [(7, one)])):
        with (
            opened(of(lambda requests, wrong=wrong: wrong), tmp_path / job) as ask,
            pytest.raises(RuntimeError, match="an error of the engine"),
        ):
            ask(requests(1))

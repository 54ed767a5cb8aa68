"""`ray`: real workers in processes of their own, on a cluster that is this machine."""

from __future__ import annotations

import importlib.util
import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ppx_ext import Decoding, LentModel, Request, Response, testing
from ppx_ext.generation.local import Local
from ppx_generators.in_ray import RAY, Ray
from tests.models import tiny_tokenizer
from tests.plugins.generators.served import save_model

CHAT = ({"role": "user", "content": "What is 2 + 3?"},)
SETTINGS: dict[str, Any] = {"workers": 2, "gpus_per_worker": 0, "cpus_per_worker": 0.5, "chunk": 3}
HAS_RAY = importlib.util.find_spec("ray") is not None
needs_ray = pytest.mark.skipif(
    not HAS_RAY, reason="RAY IS NOT INSTALLED, the cluster engine is not run: pip install ray"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("ray") / "model"


@pytest.fixture(scope="module")
def model(folder: Path) -> Any:
    return save_model(folder)


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    import ray

    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    ray.init(num_cpus=2, include_dashboard=False, logging_level="error")
    yield
    ray.shutdown()


def lent(folder: Path) -> LentModel:
    return LentModel(name=str(folder), load=lambda: None, tokenizer=tiny_tokenizer())


def requests(number: int) -> list[Request]:
    drawn = Decoding(temperature=0.9, max_new_tokens=8)
    return [Request(prompt=CHAT, decoding=drawn, seed=seed) for seed in range(number)]


@needs_ray
@pytest.mark.slow
def test_workers_answer_as_the_model_does_in_this_process(
    cluster: None, folder: Path, model: Any
) -> None:
    here = dict(Local(model=model, tokenizer=tiny_tokenizer()).answer(requests(10)))
    with RAY.open(Ray(**SETTINGS), lent(folder)) as ask:
        first = dict(ask(requests(10)))
        assert dict(ask(requests(4))) == {place: here[place] for place in range(4)}
    assert first == here
    assert len({answer.text for answer in here.values() if isinstance(answer, Response)}) > 5


@needs_ray
@pytest.mark.slow
def test_it_keeps_the_contract(cluster: None, folder: Path, model: Any) -> None:
    testing.check_generator(RAY, SETTINGS, model=lent(folder), prompts=("The answer", CHAT))


@needs_ray
@pytest.mark.slow
def test_a_worker_that_is_killed_is_started_again(cluster: None, folder: Path, model: Any) -> None:
    settings = Ray(**{**SETTINGS, "workers": 1, "chunk": 1})
    with RAY.open(settings, lent(folder)) as ask:
        answers = iter(ask(requests(6)))
        found = [next(answers)]
        victims = _workers()
        assert victims
        for pid in victims:
            os.kill(pid, signal.SIGKILL)
        found += list(answers)
    assert sorted(place for place, _ in found) == list(range(6))
    here = dict(Local(model=model, tokenizer=tiny_tokenizer()).answer(requests(6)))
    assert dict(found) == here


def _workers() -> list[int]:
    """Processes of ours in which Ray runs a `Worker`."""
    import psutil

    children = psutil.Process().children(recursive=True)
    return [child.pid for child in children if "".join(child.cmdline()).startswith("ray::Worker")]


@needs_ray
@pytest.mark.slow
def test_a_model_that_cannot_be_loaded_and_a_cluster_that_is_too_small(
    cluster: None, folder: Path, model: Any, tmp_path: Path
) -> None:
    with (
        pytest.raises(ValueError, match=r"a worker cannot load .*nothing"),
        RAY.open(Ray(**SETTINGS), lent(tmp_path / "nothing")),
    ):
        pass
    greedy = Ray(**{**SETTINGS, "gpus_per_worker": 64, "start_timeout": 2})
    with (
        pytest.raises(ValueError, match=r"2 workers of 64 GPUs.*the cluster has .*'CPU': 2.0"),
        RAY.open(greedy, lent(folder)),
    ):
        pass


def test_without_ray_it_is_refused_with_the_mend(tmp_path: Path) -> None:
    if HAS_RAY:
        pytest.skip("Ray is installed")
    with (
        pytest.raises(ValueError, match=r"pip install 'ppx-ext\[cluster\]'"),
        RAY.open(Ray(), lent(tmp_path)),
    ):
        pass


def test_settings() -> None:
    with pytest.raises(ValueError, match="batch_siz"):
        Ray(engine_settings={"batch_siz": 3})
    assert RAY.identity(Ray()) == RAY.identity(Ray(workers=9, address="auto"))
    assert RAY.identity(Ray()) != RAY.identity(Ray(engine="vllm"))
    assert RAY.reproducible(Ray(), Decoding())
    assert not RAY.reproducible(Ray(engine="vllm"), Decoding())
    assert replace(RAY, name="x").settings is Ray

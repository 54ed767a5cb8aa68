"""Copies of the model on many machines, through Ray.

Tried for this were datatrove's inference runner (0.10) and Ray Data LLM (ray 2.60). Both answer a
file or a data set per job and start their engines for each; a builder asks in rounds (answers, then
paraphrases of what was wrong), so that a large model would be loaded again and again, and
datatrove's Slurm jobs are not waited for. What both add, answers that survive a kill, the ledger
has for every engine. So this uses the actors below Ray Data: each holds a model, stays for the
whole job, is started again where its machine fails, and hands over a chunk as soon as it is
done. Where a cluster already has servers, ask these: `openai` with the address of their balancer.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import Any, Literal

import pydantic

from ppx_ext import Ask, Decoding, Failure, Generator, LentModel, Request, Response, named_model
from ppx_generators.in_process import TRANSFORMERS
from ppx_generators.in_vllm import VLLM

RESTARTS = 3


class Ray(pydantic.BaseModel):
    """Settings of `ray`. Every machine must have ppx-ext, and the model under the same name.

    Attributes:
        address: of a running cluster (``auto`` for the one that this machine is part of, or
            ``ray://HEAD:10001``); None starts one on this machine.
        workers: copies of the model.
        gpus_per_worker, cpus_per_worker: that each of them gets.
        engine: what answers there, `transformers` or `vllm`.
        engine_settings: its settings.
        dtype: of the weights, for `transformers`; ``auto`` as saved.
        chunk: requests that a worker is given at one time; kept when all of them are answered.
        start_timeout: seconds until all workers must have loaded the model.
    """

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    address: str | None = None
    workers: int = pydantic.Field(default=1, gt=0)
    gpus_per_worker: float = pydantic.Field(default=1.0, ge=0)
    cpus_per_worker: float = pydantic.Field(default=1.0, ge=0)
    engine: Literal["transformers", "vllm"] = "transformers"
    engine_settings: dict[str, Any] = {}
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    chunk: int = pydantic.Field(default=256, gt=0)
    start_timeout: float = pydantic.Field(default=1800.0, gt=0)

    @pydantic.model_validator(mode="after")
    def _engine_settings_are_right(self) -> Ray:
        _ENGINES[self.engine].settings.model_validate(self.engine_settings)
        return self


_ENGINES = {"transformers": TRANSFORMERS, "vllm": VLLM}


class Worker:
    """One copy of the model; Ray makes it on some machine."""

    def __init__(
        self, settings: Ray, name: str, revision: str | None, tokenizer: Any, trusted: bool
    ) -> None:
        engine = _ENGINES[settings.engine]
        model = named_model(
            name,
            tokenizer=tokenizer,
            revision=revision,
            trust_remote_code=trusted,
            dtype=settings.dtype,
        )
        checked = engine.settings.model_validate(settings.engine_settings)
        self._opened = ExitStack()
        self._ask = self._opened.enter_context(engine.open(checked, model))

    def ready(self) -> bool:
        """Told once the model is loaded."""
        return True

    def answer(self, requests: list[Request]) -> list[tuple[int, Response | Failure]]:
        """All answers to a chunk."""
        return list(self._ask(requests))


@contextlib.contextmanager
def _open(settings: Ray, model: LentModel) -> Iterator[Ask]:
    try:
        import ray
    except ImportError as error:
        raise ValueError(
            "generator ray: Ray is not installed; run: pip install 'ppx-ext[cluster]'"
        ) from error
    with _cluster(ray, settings), _workers(ray, settings, model) as workers:
        yield lambda requests: _answers(ray, workers, settings.chunk, requests)


@contextlib.contextmanager
def _cluster(ray: Any, settings: Ray) -> Iterator[None]:
    if ray.is_initialized():
        yield
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray would report its use otherwise
    try:
        ray.init(address=settings.address, include_dashboard=False, logging_level="warning")
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise ValueError(
            f"generator ray: no cluster answers at {settings.address!r} ({error}); start one with "
            "`ray start --head`, or leave address out to use this machine alone"
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


@contextlib.contextmanager
def _workers(ray: Any, settings: Ray, model: LentModel) -> Iterator[list[Any]]:
    made = ray.remote(Worker).options(
        num_gpus=settings.gpus_per_worker,
        num_cpus=settings.cpus_per_worker,
        max_restarts=RESTARTS,
        max_task_retries=RESTARTS,
    )
    given = (settings, model.name, model.revision, model.tokenizer, model.trust_remote_code)
    workers = [made.remote(*given) for _ in range(settings.workers)]
    try:
        ray.get([worker.ready.remote() for worker in workers], timeout=settings.start_timeout)
        yield workers
    except ray.exceptions.GetTimeoutError as error:
        raise ValueError(
            f"generator ray: {settings.workers} workers of {settings.gpus_per_worker:g} GPUs and "
            f"{settings.cpus_per_worker:g} CPUs were not ready in {settings.start_timeout:g} s; "
            f"the cluster has {ray.cluster_resources()}. Ask for less, or raise start_timeout"
        ) from error
    except ray.exceptions.ActorDiedError as error:
        raise ValueError(f"generator ray: a worker cannot load {model.name!r}: {error}") from error
    finally:
        for worker in workers:
            ray.kill(worker)


def _answers(
    ray: Any, workers: Sequence[Any], chunk: int, requests: Sequence[Request]
) -> Iterator[tuple[int, Response | Failure]]:
    """Chunks go to whoever is idle, and are handed on as they are done."""
    waiting = [
        range(start, min(start + chunk, len(requests))) for start in range(0, len(requests), chunk)
    ]
    idle, under_way = list(workers), dict[Any, tuple[Any, range]]()
    while waiting or under_way:
        while waiting and idle:
            worker, places = idle.pop(), waiting.pop(0)
            job = worker.answer.remote([requests[place] for place in places])
            under_way[job] = (worker, places)
        (done,), _ = ray.wait(list(under_way), num_returns=1)
        worker, places = under_way.pop(done)
        idle.append(worker)
        try:
            found = ray.get(done)
        except ray.exceptions.RayError as error:
            lost = Failure(reason=f"a worker failed: {error}"[:500])
            yield from ((place, lost) for place in places)
        else:
            yield from ((places[place], answer) for place, answer in found)


def _identity(settings: Ray) -> dict[str, Any]:
    engine = _ENGINES[settings.engine]
    own = engine.identity(engine.settings.model_validate(settings.engine_settings))
    return {"engine": settings.engine, "dtype": settings.dtype, "settings": dict(own)}


def _reproducible(settings: Ray, decoding: Decoding) -> bool:
    engine = _ENGINES[settings.engine]
    own = engine.settings.model_validate(settings.engine_settings)
    return engine.reproducible(own, decoding)


RAY = Generator(
    name="ray",
    paper="",
    settings=Ray,
    open=_open,
    identity=_identity,
    reproducible=_reproducible,
)
"""As reproducible as the engine of its workers: with `transformers`, which machine answers plays no
part."""

"""A real OpenAI-compatible server on loopback: `transformers serve` with a tiny model."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from transformers import GenerationConfig
from transformers.utils.import_utils import is_serve_available

from ppx_ext import LentModel
from tests.models import tiny_model, tiny_tokenizer

SECONDS = 300
TRIES = 3


@dataclass(frozen=True)
class Served:
    """A server, and the model that it serves."""

    process: subprocess.Popen[bytes]
    base_url: str
    folder: Path
    log: Path

    @property
    def lent(self) -> LentModel:
        tokenizer = tiny_tokenizer()
        return LentModel(name=str(self.folder), load=lambda: None, tokenizer=tokenizer)

    def requests_seen(self, path: str) -> int:
        return self.log.read_text().count(f'"POST {path} HTTP')


def save_model(folder: Path) -> Any:
    model = tiny_model("llama")
    model.generation_config = GenerationConfig(
        eos_token_id=2, pad_token_id=0, do_sample=True, top_k=0
    )
    model.save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return model


@contextlib.contextmanager
def serve(folder: Path) -> Iterator[Served]:
    """Start a server for a saved model; it is killed in the end."""
    if not is_serve_available():
        pytest.skip("NO SERVER TO TEST AGAINST: pip install 'transformers[serving]'")
    started = (_start(folder) for _ in range(TRIES))
    served = next((one for one in started if _answers(one)), None)
    assert served is not None, f"{TRIES} ports were taken, one after the other"
    try:
        yield served
    finally:
        served.process.kill()
        served.process.wait()


def _start(folder: Path) -> Served:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = folder.parent / f"serve-{port}.log"
    command = [str(Path(sys.executable).with_name("transformers")), "serve", str(folder)]
    options = ["--host", "127.0.0.1", "--port", str(port), "--device", "cpu"]
    with log.open("wb") as out:
        process = subprocess.Popen(
            [*command, *options],
            stdout=out,
            stderr=subprocess.STDOUT,
            env={**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONUNBUFFERED": "1"},
        )
    return Served(process, f"http://127.0.0.1:{port}/v1", folder, log)


def _answers(served: Served) -> bool:
    """Wait for it; False where somebody took its port before it did."""
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        if served.process.poll() is not None:
            assert "address already in use" in served.log.read_text(), served.log.read_text()
            return False
        with contextlib.suppress(OSError):
            health = served.base_url.removesuffix("v1") + "health"
            urllib.request.urlopen(health, timeout=2).close()
            return True
        time.sleep(0.1)
    served.process.kill()
    raise AssertionError(f"no server within {SECONDS} s:\n{served.log.read_text()}")

"""An HTTP server that says what a test tells it to, for what a healthy server never does."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, TypeAlias

Reply: TypeAlias = tuple[int, dict[str, Any], dict[str, str]]
"""Status, body, further headers."""


def models(*names: str) -> Reply:
    data = [{"id": name, "object": "model", "created": 0, "owned_by": "us"} for name in names]
    return 200, {"object": "list", "data": data}, {}


def chat(*texts: str | None, reason: str = "stop") -> Reply:
    choices = [
        {"index": n, "finish_reason": reason, "message": {"role": "assistant", "content": text}}
        for n, text in enumerate(texts)
    ]
    usage = {"prompt_tokens": 1, "completion_tokens": 7, "total_tokens": 8}
    made = {"id": "1", "object": "chat.completion", "created": 0, "model": "m"}
    return 200, {**made, "choices": choices, "usage": usage}, {}


def text(words: str, reason: str = "stop") -> Reply:
    choice = {"index": 0, "finish_reason": reason, "text": words, "logprobs": None}
    made = {"id": "1", "object": "text_completion", "created": 0, "model": "m"}
    return 200, {**made, "choices": [choice]}, {}


@contextlib.contextmanager
def serving(
    reply: Callable[[str, dict[str, Any]], Reply],
) -> Iterator[tuple[str, list[tuple[str, dict[str, Any], dict[str, str]]]]]:
    """Lend the address, and all that was asked: path, body, headers."""
    seen: list[tuple[str, dict[str, Any], dict[str, str]]] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._reply({})

        def do_POST(self) -> None:
            self._reply(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

        def _reply(self, body: dict[str, Any]) -> None:
            seen.append((self.path, body, {k.lower(): v for k, v in self.headers.items()}))
            status, values, headers = reply(self.path, body)
            content = json.dumps(values).encode()
            self.send_response(status)
            own = {"Content-Type": "application/json", "Content-Length": str(len(content))}
            for name, value in {**own, **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *args: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1", seen
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

"""The way of a built data set to the hub: one commit, private where the user says so."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ppx_ext.building import card
from tests.core import builds


class Hub(http.server.BaseHTTPRequestHandler):
    """As much of the hub as an upload needs; it writes down what it is asked."""

    requests: list[tuple[str, str, Any]]
    refuses = False

    def do_GET(self) -> None:
        self._answer({"sha": "0" * 40, "id": "me/rows", "siblings": []})

    def do_POST(self) -> None:
        size = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(size).decode()
        self.requests.append(("POST", self.path.split("?")[0], body))
        if self.refuses:
            self._answer({"error": "You need a token"}, status=401)
        elif self.path.endswith("/api/repos/create"):
            self._answer({"url": f"http://{self.headers['Host']}/datasets/me/rows"})
        elif "/preupload/" in self.path:
            files = [
                {"path": one["path"], "uploadMode": "regular", "shouldIgnore": False}
                for one in json.loads(body)["files"]
            ]
            self._answer({"files": files})
        elif "/commit/" in self.path:
            url = f"http://{self.headers['Host']}/datasets/me/rows/commit/abc"
            self._answer({"success": True, "commitOid": "abc", "commitUrl": url})
        else:
            self._answer({"errors": [], "warnings": []})

    def _answer(self, values: Any, status: int = 200) -> None:
        data = json.dumps(values).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *given: Any) -> None:
        pass


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Hub]]:
    import huggingface_hub.constants as constants

    handler = type("OneHub", (Hub,), {"requests": []})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_address[1]}"
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_TOKEN", "hf_made_up")
    yield handler
    server.shutdown()
    server.server_close()


def committed(hub: type[Hub]) -> list[Any]:
    return [body for _, path, body in hub.requests if "/commit/" in path]


@pytest.mark.parametrize("private", [True, False])
def test_everything_goes_up_in_one_commit(tmp_path: Path, hub: type[Hub], private: bool) -> None:
    made = builds.build(tmp_path)
    assert card.push(made.folder, "me/rows", private=private).endswith("/commit/abc")
    (body,) = committed(hub)
    lines = [json.loads(line) for line in body.splitlines()]
    files = sorted(line["value"]["path"] for line in lines if line["key"] == "file")
    assert files == ["README.md", "build.json", "train.parquet"]
    (created,) = [body for _, path, body in hub.requests if path == "/api/repos/create"]
    asked = json.loads(created)
    assert (asked["name"], asked["organization"], asked["type"]) == ("rows", "me", "dataset")
    said = asked.get("private") or asked.get("visibility") == "private"  # by the client's age
    assert bool(said) is private


def test_a_hub_that_refuses_says_what_to_do_and_the_data_stay(
    tmp_path: Path, hub: type[Hub]
) -> None:
    made = builds.build(tmp_path)
    hub.refuses = True
    with pytest.raises(ValueError, match=r"'me/rows' cannot be written on the hub: (?s:.*)log in"):
        card.push(made.folder, "me/rows", private=False)
    assert committed(hub) == []
    assert made.path.exists()


def test_a_name_that_the_hub_cannot_have_is_an_error(tmp_path: Path, hub: type[Hub]) -> None:
    made = builds.build(tmp_path)
    with pytest.raises(ValueError, match="'me/ro/ws' cannot be written on the hub"):
        card.push(made.folder, "me/ro/ws", private=False)


def test_offline_is_said() -> None:
    with pytest.raises(ValueError, match=r"cannot be written on the hub.*offline"):
        card.push(Path("nowhere"), "me/rows", private=False)


def test_the_command_is_what_a_shell_takes() -> None:
    command = card.command_of("my recipe.yaml", out=Path("o u t"), data=None, rows=3)
    assert command == "ppx build 'my recipe.yaml' --out 'o u t' --rows 3"

"""A headless Chromium, spoken to over a pipe (the DevTools protocol): pages as readers see them."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

_NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")


def executable() -> str:
    """Path of a Chromium; where there is none, the test skips, and says so aloud."""
    found = next((path for name in _NAMES if (path := shutil.which(name))), None)
    if found is None:
        said = "NO BROWSER: Chromium is not installed, so that no page is looked at"
        print(said, file=sys.__stderr__)
        pytest.skip(said)
    return found


@dataclass
class Browser:
    """One page of a running Chromium; ``complaints`` are what its console and network said."""

    process: subprocess.Popen[bytes]
    send_fd: int
    receive_fd: int
    session: str = ""
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    _count: int = 0
    _buffer: bytes = b""
    _events: list[Any] = field(default_factory=list)

    def call(self, method: str, **params: Any) -> Any:
        """A command of the protocol, and its result."""
        self._count += 1
        message = {"id": self._count, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.send_fd, json.dumps(message).encode() + b"\0")
        while True:
            found = self._receive()
            if found.get("id") == self._count:
                assert "error" not in found, (method, found["error"])
                return found["result"]
            self._note(found)

    def wait(self, event: str) -> Any:
        """The next event of that name, or one that came already."""
        while True:
            for at, found in enumerate(self._events):
                if found.get("method") == event:
                    return self._events.pop(at)
            self._note(self._receive())

    def _receive(self) -> Any:
        while b"\0" not in self._buffer:
            read = os.read(self.receive_fd, 1 << 16)
            assert read, "Chromium ended"
            self._buffer += read
        line, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(line)

    def _note(self, found: Any) -> None:
        method, params = found.get("method", ""), found.get("params", {})
        if method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        if method == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
            self.complaints.append(params["entry"]["text"])
        if method == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning"):
            self.complaints.append(str(params["args"]))
        if method == "Runtime.exceptionThrown":
            self.complaints.append(str(params["exceptionDetails"]))
        self._events.append(found)

    def open(
        self,
        path: Path,
        *,
        width: int,
        height: int = 900,
        dark: bool = False,
        phone: bool = False,
        media: str = "",
    ) -> None:
        """Show a file at a size, in light or in dark, on a screen or as it is printed."""
        scale = 2 if phone else 1
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=scale, mobile=phone,
        )  # fmt: skip
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", media=media, features=[scheme])
        self._events.clear()
        self.call("Page.navigate", url=path.resolve().as_uri())
        self.wait("Page.loadEventFired")

    def value(self, script: str) -> Any:
        """What an expression is in the page."""
        found = self.call("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def screenshot(self, to: Path) -> Path:
        """The whole page as PNG."""
        found = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        return _write(to, found["data"])

    def pdf(self, to: Path) -> Path:
        """The page as it is printed."""
        return _write(to, self.call("Page.printToPDF", printBackground=False)["data"])


def _write(to: Path, data: str) -> Path:
    to.parent.mkdir(parents=True, exist_ok=True)
    to.write_bytes(base64.b64decode(data))
    return to


@contextmanager
def browser() -> Iterator[Browser]:
    """A Chromium with one blank page; it is ended afterwards, whatever happens."""
    to_read, to_send = os.pipe()
    to_receive, to_write = os.pipe()
    # The protocol is spoken over the descriptors 3 and 4; these copies are out of their way.
    ends = [fcntl.fcntl(end, fcntl.F_DUPFD, 100) for end in (to_read, to_write)]

    def place() -> None:
        for at, end in enumerate(ends, 3):
            os.dup2(end, at)

    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        process = subprocess.Popen(
            [
                executable(), "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run",
                "--disable-dev-shm-usage", "--disable-background-networking", "--hide-scrollbars",
                "--remote-debugging-pipe", f"--user-data-dir={profile}", "about:blank",
            ],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            pass_fds=(3, 4), preexec_fn=place,
        )  # fmt: skip
        for end in (to_read, to_write, *ends):
            os.close(end)
        found = Browser(process=process, send_fd=to_send, receive_fd=to_receive)
        try:
            target = found.call("Target.createTarget", url="about:blank")["targetId"]
            attached = found.call("Target.attachToTarget", targetId=target, flatten=True)
            found.session = attached["sessionId"]
            for domain in ("Page", "Runtime", "Log", "Network"):
                found.call(f"{domain}.enable")
            yield found
        finally:
            for end in (to_send, to_receive):
                os.close(end)
            process.terminate()
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

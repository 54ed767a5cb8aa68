"""A SandboxFusion server as the sandbox: one POST for each job, by its published interface.

Its Python client is a wrapper that retries without end to see and adds aiohttp and tenacity for
this one call, so the call is made here.
"""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ppx_judges.job import GRACE, Job, SandboxLostError, report_of

if TYPE_CHECKING:
    from ppx_judges.settings import CodeSettings

_INSIDE = Path(__file__).parent / "inside"
_MAIN = """\
import os, sys
folder = os.path.join(os.path.dirname(os.path.abspath(__file__)), "harness")
os.makedirs(os.path.join(folder, "ppx_judges", "inside"), exist_ok=True)
open(os.path.join(folder, "ppx_judges", "__init__.py"), "w").close()
for name, text in {files!r}.items():
    with open(os.path.join(folder, "ppx_judges", "inside", name), "w", encoding="utf-8") as file:
        file.write(text)
sys.path.insert(0, folder)
from ppx_judges.inside.checker import main
main(folder, "-")
"""


class Server:
    """A SandboxFusion server. It sees to its own isolation; limits are set inside it too."""

    def __init__(self, settings: CodeSettings) -> None:
        self._address = f"{(settings.url or '').rstrip('/')}/run_code"
        files = {path.name: path.read_text(encoding="utf-8") for path in _INSIDE.glob("*.py")}
        self._code = _MAIN.format(files=files)

    def run(self, job: Job) -> tuple[str, str]:
        """Verdict and reason of a job.

        Raises:
            SandboxLostError: no answer, or the server could not run it.
        """
        answer = self._post(
            {
                "code": self._code,
                "language": "python",
                "stdin": job.text,
                "compile_timeout": GRACE,
                "run_timeout": job.seconds,
            },
            job.seconds + GRACE,
        )
        ran = answer.get("run_result")
        if not isinstance(ran, dict):
            raise SandboxLostError(f"{self._address}: {answer.get('message') or answer}")
        late = ran.get("status") == "TimeLimitExceeded"
        why = (
            f"timed out after {job.settings.timeout:g} s" if late else str(ran.get("stderr") or "")
        )
        return report_of(str(ran.get("stdout") or ""), job.nonce, why.strip()[-300:])

    def close(self) -> None:
        """Nothing is held."""

    def _post(self, body: dict[str, Any], seconds: float) -> dict[str, Any]:
        request = urllib.request.Request(
            self._address,
            data=json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=seconds) as response:
                answer = json.load(response)
        except (OSError, ValueError) as error:
            detail = error.read()[:200] if isinstance(error, urllib.error.HTTPError) else b""
            raise SandboxLostError(
                f"{self._address}: {error} {detail.decode(errors='replace')}"
            ) from None
        if not isinstance(answer, dict):
            raise SandboxLostError(f"{self._address}: {answer!r:.200}")
        return answer

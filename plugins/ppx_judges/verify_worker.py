"""A process that compares expressions with math-verify. Run as a script; it reads lines of JSON.

A line is ``[seconds, gold, response]``; the answer is ``[judgement, reason]``. The kernel ends the
process when the seconds are over, whatever it is doing.
"""

from __future__ import annotations

import json
import logging
import os
import resource
import signal
import sys

MEMORY_BYTES = 4 << 30


def main() -> None:
    """Answer until the input ends."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    # What a library prints must neither stand among the answers nor fill a pipe nobody reads.
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    logging.disable(logging.CRITICAL)
    compare(r"\sqrt{2}", r"\sqrt2")  # what the first comparison loads is no part of anybody's time
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for line in sys.stdin:
        seconds, gold, response = json.loads(line)
        signal.setitimer(signal.ITIMER_REAL, seconds)
        found = compare(gold, response)
        signal.setitimer(signal.ITIMER_REAL, 0)
        print(json.dumps(found), file=answers, flush=True)


def compare(gold: str, response: str | None) -> tuple[str, str]:
    """Judgement and reason; ``response`` None asks only whether the gold can be read."""
    from math_verify import LatexExtractionConfig, parse, verify

    def read(text: str) -> list[object]:
        # Its own time limits work by SIGALRM, which is taken.
        found: list[object] = parse(
            f"${text}$",
            extraction_config=[LatexExtractionConfig()],
            fallback_mode="no_fallback",
            parsing_timeout=None,
        )
        return found

    wanted = read(gold)
    if not wanted:
        return "unknown", "math-verify cannot read the gold answer"
    if response is None:
        return "wrong", ""
    given = read(response)
    if not given:
        return "wrong", "math-verify cannot read the final answer"
    try:
        same = verify(wanted, given, timeout_seconds=None, raise_on_error=True)
    except Exception as error:
        return "unknown", f"math-verify cannot compare them ({type(error).__name__})"
    return ("correct", "the same by math-verify") if same else ("wrong", "not the same")


if __name__ == "__main__":
    main()

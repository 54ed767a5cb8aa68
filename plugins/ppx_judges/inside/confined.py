"""What takes a process's rights away, and bounds what it may use up."""

from __future__ import annotations

import ctypes
import os
import resource
import sys

_CAPBSET_DROP, _SET_NO_NEW_PRIVS = 24, 38
_NOBODY = 65534


def has_rights() -> bool:
    """Whether this process has any by which it could reach into one of the same user."""
    with open("/proc/self/status", encoding="ascii", errors="replace") as status:
        fields = dict(line.split(":", 1) for line in status if ":" in line)
    return any(int(fields[each], 16) for each in ("CapEff", "CapPrm"))


def to_no_rights(folder: str) -> None:
    """Give up all rights with the next program that is executed; root is nobody, if it can be.

    Args:
        folder: what that program must still be able to read, beside Python.
    """
    libc = ctypes.CDLL(None)
    for capability in range(64):
        libc.prctl(_CAPBSET_DROP, capability, 0, 0, 0)
    libc.prctl(_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if os.geteuid() == 0 and all(_open_to_all(each) for each in (folder, sys.executable)):
        try:
            os.setgroups([])
            os.setresgid(_NOBODY, _NOBODY, _NOBODY)
            os.setresuid(_NOBODY, _NOBODY, _NOBODY)
        except OSError:
            return  # a namespace of one user, who is left without rights all the same


def to_limits(limits: dict[str, int]) -> None:
    """Bound this process and all that it starts: bytes, seconds, numbers."""
    for what, most in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_AS, limits["memory"]),
        (resource.RLIMIT_FSIZE, limits["output"]),
        (resource.RLIMIT_NOFILE, limits["files"]),
        (resource.RLIMIT_NPROC, limits["processes"]),
        (resource.RLIMIT_CPU, limits["seconds"]),
    ):
        hard = resource.getrlimit(what)[1]
        lowered = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(what, (lowered, lowered))


def _open_to_all(path: str) -> bool:
    parents = [os.path.realpath(path)]
    while parents[-1] != "/":
        parents.append(os.path.dirname(parents[-1]))
    return all(os.stat(each).st_mode & 0o001 for each in parents)

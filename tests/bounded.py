"""Commands that may do no more than their user's permissions say."""

from __future__ import annotations

import ctypes
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

_ROOT = Path(__file__).parent.parent
_PR_CAPBSET_DROP = 24
_OVERRIDING = (1, 2, 3)
"""CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH and CAP_FOWNER: with them root writes what is read-only."""


def drop_privileges() -> None:
    """For `preexec_fn`: the command that follows obeys the permissions of files, even root's."""
    if os.geteuid() == 0:
        libc = ctypes.CDLL(None, use_errno=True)
        for capability in _OVERRIDING:
            if libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0):
                raise OSError(ctypes.get_errno(), "the capability cannot be dropped")


def run_without_privileges(command: Sequence[str], seconds: float = 120) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
        cwd=_ROOT,
        preexec_fn=drop_privileges,
    )

"""Commands that may do no more than their user's permissions say; as a script, it becomes such a command.

Not with `preexec_fn`: this process may hold gRPC's threads, which a child that runs Python code does not survive.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

_ROOT = Path(__file__).parent.parent
_PR_CAPBSET_DROP = 24
_OVERRIDING = (1, 2, 3)
"""CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH and CAP_FOWNER: with them root writes what is read-only."""


def run_without_privileges(command: Sequence[str], seconds: float = 120) -> subprocess.CompletedProcess[str]:
    bounded = [sys.executable, __file__, *command]
    return subprocess.run(bounded, capture_output=True, text=True, timeout=seconds, check=False, cwd=_ROOT)


def _drop_privileges() -> None:
    if os.geteuid() == 0:
        libc = ctypes.CDLL(None, use_errno=True)
        for capability in _OVERRIDING:
            if libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0):
                raise OSError(ctypes.get_errno(), "the capability cannot be dropped")


if __name__ == "__main__":
    _drop_privileges()
    os.execvp(sys.argv[1], sys.argv[1:])

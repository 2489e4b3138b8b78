"""Where reeltag keeps files of its own; standard library only."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """For logs and unpacked wheels: `$XDG_CACHE_HOME/reeltag`, or `~/.cache/reeltag` without it."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "reeltag"

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.vod.media import BLUE, GREEN, RED, write_video

_SHM = Path("/dev/shm")


@pytest.fixture(autouse=True)
def _nothing_left_in_shared_memory() -> Iterator[None]:
    before = _ours()
    yield
    assert _ours() <= before


def _ours() -> set[str]:
    import os

    return {path.name for path in _SHM.glob(f"reeltag_{os.getpid()}_*")}


@pytest.fixture(scope="session")
def three_colours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """3 s at 25 frames/s: a second of red, green and blue; 96x160 (rows x columns)."""
    path = tmp_path_factory.mktemp("media") / "colours.mp4"
    return write_video(path, [RED] * 25 + [GREEN] * 25 + [BLUE] * 25, muxer={"movflags": "faststart"})

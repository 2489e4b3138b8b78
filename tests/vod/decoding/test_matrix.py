"""Some cells of the matrix in `docs/video-matrix.md`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.vod.matrix import TRIALS, WAYS, applies, tried

_SHORT = {
    ".mp4 libx264": ("B-frames", "open GOP", "truncated", "noise", "no index"),
    ".mkv libx264": ("held", "noise", "truncated"),
    ".ts libx264": ("held", "wrap", "restart", "jump", "noise"),
    ".ts mpeg2video": ("open GOP", "restart", "noise"),
    ".mpg mpeg2video": ("jump",),
    ".avi libx264": ("B-frames", "noise"),
    ".flv libx264": ("held",),
    ".h264 libx264": ("B-frames", "restart"),
    ".mov qtrle": ("plain",),
    ".mov svq1": ("plain",),
    ".webm libvpx-vp9": ("plain", "noise"),
    ".wmv wmv2": ("held",),
}


@pytest.mark.parametrize(("way", "trial"), [(way, trial) for way, trials in _SHORT.items() for trial in trials])
def test_a_cell_of_the_matrix(way: str, trial: str, tmp_path: Path) -> None:
    (found,) = [each for each in WAYS if each.name == way]
    assert applies(found, trial)
    assert tried(found, trial, tmp_path) == ""


def test_the_page_shows_this_matrix() -> None:
    page = (Path(__file__).parents[3] / "docs" / "video-matrix.md").read_text()
    assert all(f"| {way.name} |" in page for way in WAYS)
    assert f"| | {' | '.join(TRIALS)} |" in page

"""Files that are written bit by bit hold what they held when they were made as a whole."""

from __future__ import annotations

import io
import json
import tracemalloc
from dataclasses import replace
from pathlib import Path, PurePath

import numpy as np
import pytest

from reeltag.errors import OutputError
from reeltag.tags import FrameDetections, Shot, Tag, VideoTags
from tests.vod.stores.test_job_files import document
from vod.aggregation.aggregate import interval_of
from vod.aggregation.levels import Objects, TaggedShots
from vod.stores.file_store import FileStore
from vod.stores.files import Folder
from vod.stores.job_files import VideoResult, write_job_files
from vod.stores.results import json_text
from vod.stores.tagged import TaggedVideo
from vod.stores.video_files import json_pieces, video_files, write_files

FRAMES = [
    {"pts_seconds": 0.0, "detections": [{"label": "car\n{", "score": 0.5, "box": (1, 2, 3, 4.5)}], "tags": []},
    {"pts_seconds": 1e-06, "detections": [], "tags": [{"label": "é", "score": 1e-7, "model": "net"}]},
]
GAPS = [{"start_seconds": 0.5, "end_seconds": 1.0, "reason": 'a "reason"\nof two lines'}]


def parts_of(tags: VideoTags) -> TaggedVideo:
    frames: tuple[FrameDetections, ...] | None = tags.frames
    return TaggedVideo(tags.source, tags.shots, tags.tags, tags.coverage, tags.provenance, {}, frames)


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"frames": FRAMES},
        {"frames": []},
        {"shots": [], "tags": []},
        {"coverage": {"frames_decoded": 1, "frames_sampled": 1, "gaps": GAPS}},
    ],
    ids=["plain", "frames", "no_frames", "nothing", "gaps"],
)
def test_json_in_pieces_is_that_of_the_whole_model(more: dict[str, object]) -> None:
    tags = document('é\u2028".mp4', **more)
    assert "".join(json_pieces(parts_of(tags))) == json_text(tags)


def test_the_json_comes_last_and_files_can_be_written_again(tmp_path: Path) -> None:
    files = video_files(
        PurePath("a/b.mp4"), parts_of(document("b.mp4")), lambda: iter(["<p>", "\udcff"]), lambda: b"jpeg"
    )
    assert list(files) == [".pictures/a/b.mp4.jpg", "a/b.mp4.html", "a/b.mp4.csv", "a/b.mp4.vtt", "a/b.mp4.tags.json"]
    write_files(Folder(tmp_path), files)
    written = {key: (tmp_path / key).read_bytes() for key in files}
    assert written["a/b.mp4.html"] == b"<p>\\udcff"
    for key, write in files.items():
        again = io.BytesIO()
        write(again)
        assert again.getvalue() == written[key]


def test_a_file_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    def page() -> list[str]:
        raise OSError(28, "No space left on device")

    files = video_files(PurePath("b.mp4"), parts_of(document("b.mp4")), page, lambda: b"jpeg")
    with pytest.raises(OutputError, match="No space left"):
        write_files(Folder(tmp_path), files)
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["b.mp4.jpg"]


def test_what_is_written_is_never_whole_in_memory(tmp_path: Path) -> None:
    """Of a video with many shots: its files, and those of its job."""
    shots, labels = 150, [f"object {number}" for number in range(20)]
    times = np.arange(4.0 * shots)
    tags = tuple(
        Tag(
            label=label,
            model="net",
            confidence=0.9,
            intervals=tuple(interval_of(4.0 * number, 4.0 * number + 3, 0.9) for number in range(shots)),
        )
        for label in labels
    )
    objects = Objects("net", times, lambda _: np.full(len(times), 2))
    whole = document("long.mp4")
    tagged = replace(
        parts_of(whole),
        shots=TaggedShots([Shot(start_seconds=4.0 * n, end_seconds=4.0 * n + 4) for n in range(shots)], tags, objects),
        tags=tags,
    )
    files = video_files(PurePath("v"), tagged, lambda: (f"<p>{number}" for number in range(1000)), lambda: b"jpeg")
    store = FileStore(tmp_path)
    tracemalloc.start()
    try:
        write_files(store, files)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    size = (tmp_path / "v.tags.json").stat().st_size
    assert size > 1_000_000
    assert peak < size / 2, "what is held is a tag, or a shot"
    with store.reading("v.tags.json") as file:
        write_job_files(store, "job", [VideoResult(0, "v", "v", file)])
    read = VideoTags.model_validate_json((tmp_path / "v.tags.json").read_bytes())
    assert (read.tags, len(read.shots)) == (tags, shots)
    assert {each.count for shot in read.shots for each in shot.objects} == {2}
    assert json.loads((tmp_path / "job" / "job.jsonl").read_text()) == json.loads(
        (tmp_path / "v.tags.json").read_text()
    )

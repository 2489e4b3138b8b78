from __future__ import annotations

import asyncio
import csv
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from enum import Enum
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import psutil
import pytest
from jsonschema import validate

from reeltag.errors import OutputError, TritonUnavailable
from reeltag.tags import VideoTags
from tests.vod.fake import FakeTagger
from tests.vod.media import BLUE, GREEN, RED, picture, write_video
from tests.vod.test_schema import PUBLISHED
from vod.inference.ring import with_patience
from vod.options import ShotFrames
from vod.stores.names import result_name
from vod.stores.results import picture_path, result_path
from vod.stores.thumbnails import encode
from vod.tagging import Outcome, Sample, Status, TagOptions, tag_paths

ROOT = Path(__file__).parents[2]


def tag(paths: list[Path], out: Path, client: FakeTagger | None = None, **options: Any) -> list[Outcome]:
    return asyncio.run(tag_paths(paths, out, client or FakeTagger(), TagOptions(**options)))


def result(out: Path, source: Path) -> VideoTags:
    data = result_path(out, result_name(source), ".tags.json").read_text()
    validate(json.loads(data), json.loads(PUBLISHED.read_text()))
    return VideoTags.model_validate_json(data)


def spans(tags: VideoTags, label: str) -> list[tuple[float, float]]:
    return [(i.start_seconds, i.end_seconds) for t in tags.tags if t.label == label for i in t.intervals]


@pytest.mark.parametrize(
    ("options", "sampled"),
    [
        ({"sample": Sample.FPS}, 6),
        ({"sample": Sample.SHOTS}, 9),
        ({"sample": Sample.SHOTS, "shot_frames": ShotFrames.FIRST}, 3),
        ({"sample": Sample.SHOTS, "shot_frames": ShotFrames.SHARPEST}, 3),
        ({"sample": Sample.EVERY}, 75),
        ({"sample": Sample.ADAPTIVE, "fps": 4.0}, 3),  # nothing changes between the cuts
    ],
)
def test_a_video_becomes_shots_and_tags(
    three_colours: Path, tmp_path: Path, options: dict[str, Any], sampled: int
) -> None:
    client = FakeTagger()
    (outcome,) = tag([three_colours], tmp_path, client, **options, frames=True)
    assert outcome.status is Status.TAGGED
    assert {file.name for file in outcome.files} == {
        "colours.mp4.tags.json",
        "colours.mp4.vtt",
        "colours.mp4.csv",
        "colours.mp4.html",
    }
    picture = picture_path(tmp_path, result_name(three_colours))
    written = {path for path in tmp_path.rglob("*") if path.is_file()}
    assert written == {*outcome.files, picture, tmp_path / "index.html", tmp_path / ".reeltag.lock"}
    tags = result(tmp_path, three_colours)
    assert [(s.start_seconds, s.end_seconds) for s in tags.shots] == [(0, 1), (1, 2), (2, 3)]
    assert spans(tags, "car") == [(0, 1)]
    assert spans(tags, "person") == [(1, 2)]
    assert spans(tags, "blue") == [(2, 3)]
    assert tags.frames is not None
    assert tags.frames[0].detections[0].box == pytest.approx((0, 0, 160, 96), abs=3)
    assert [[t.label for t in frame.tags] for frame in tags.frames[:1] + tags.frames[-1:]] == [["red"], ["blue"]]
    assert [[t.label for t in s.tags] for s in tags.shots] == [["red", "car"], ["green", "person"], ["blue"]]
    assert [[(o.label, o.count) for o in s.objects] for s in tags.shots] == [[("car", 1)], [("person", 1)], []]
    assert (tags.coverage.frames_decoded, tags.coverage.frames_sampled, tags.coverage.gaps) == (75, sampled, ())
    assert {k: str(v) for k, v in tags.provenance.options.items() if k in options} == {
        k: v.value if isinstance(v, Enum) else str(v) for k, v in options.items()
    }
    assert [m.task for m in tags.provenance.models] == ["detect", "classify", "shots"]
    assert client.shared_requests > 0
    assert client.sent_requests == 0
    assert client.regions == {}
    assert (
        len(list(csv.DictReader(result_path(tmp_path, result_name(three_colours), ".csv").read_text().splitlines())))
        == 5
    )


def test_key_frames_make_one_shot(three_colours: Path, tmp_path: Path) -> None:
    tag([three_colours], tmp_path, sample=Sample.KEYFRAMES)
    tags = result(tmp_path, three_colours)
    assert len(tags.shots) == 1
    assert [m.task for m in tags.provenance.models] == ["detect", "classify"]


def test_a_shot_shorter_than_the_sampling_still_gets_a_sample(tmp_path: Path) -> None:
    path = write_video(tmp_path / "v.mp4", [RED] * 27 + [GREEN] * 5 + [BLUE] * 30)
    tag([path], tmp_path / "out", fps=1.0)
    tags = result(tmp_path / "out", path)
    assert spans(tags, "person") == [(1.08, 1.28)]


def test_a_server_elsewhere_gets_the_frames_themselves(three_colours: Path, tmp_path: Path) -> None:
    client = FakeTagger(shares=False)
    tag([three_colours], tmp_path, client)
    assert client.shared_requests == 0
    assert client.sent_requests > 0
    assert spans(result(tmp_path, three_colours), "car") == [(0, 1)]


def test_a_server_that_was_started_again_loses_nothing(three_colours: Path, tmp_path: Path) -> None:
    client = FakeTagger(away=3, forgets_after=3)
    tag([three_colours], tmp_path, client)
    assert client.registrations >= 2
    assert spans(result(tmp_path, three_colours), "car") == [(0, 1)]
    assert result(tmp_path, three_colours).coverage.frames_sampled == 6


def test_patience_ends() -> None:
    async def ask() -> None:
        raise TritonUnavailable("away")

    with pytest.raises(TritonUnavailable):
        asyncio.run(with_patience(ask, patience_seconds=0.5))


def test_what_is_tagged_is_left_alone_until_something_changes(three_colours: Path, tmp_path: Path) -> None:
    def status(**options: Any) -> Status:
        (outcome,) = tag([three_colours], tmp_path, **options)
        return outcome.status

    json_path, html_path = (result_path(tmp_path, result_name(three_colours), end) for end in (".tags.json", ".html"))
    assert status() is Status.TAGGED
    written = json_path.stat().st_mtime_ns
    assert status() is Status.DONE
    assert json_path.stat().st_mtime_ns == written
    assert status(fps=1.0) is Status.TAGGED
    assert status(fps=1.0, force=True) is Status.TAGGED
    html_path.unlink()
    assert status(fps=1.0) is Status.TAGGED
    json_path.write_text("{half")
    assert status(fps=1.0) is Status.TAGGED


def test_where_no_class_is_certain_its_group_is_tagged(three_colours: Path, tmp_path: Path) -> None:
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(encode(picture(GREEN, 64, 48)))
    client = FakeTagger(groups={"red or green": (0, 1), "green or blue": (1, 2)})
    tag([three_colours, photo], tmp_path, client)
    tags = result(tmp_path, three_colours)
    assert spans(tags, "red or green") == [(1, 2)]
    assert spans(tags, "green or blue") == [(2, 3)]
    assert {t.label for t in tags.tags if t.model == "fake_classify"} == {"red or green", "green or blue"}
    of_photo = json.loads(result_path(tmp_path, result_name(photo), ".tags.json").read_text())["tags"]
    assert of_photo == [{"label": "red or green", "score": pytest.approx(0.6), "model": "fake_classify"}]


def test_other_groups_make_it_tag_again(three_colours: Path, tmp_path: Path) -> None:
    def status(groups: dict[str, tuple[int, ...]]) -> Status:
        return tag([three_colours], tmp_path, FakeTagger(groups=groups))[0].status

    assert status({"red or green": (0, 1)}) is Status.TAGGED
    assert status({"red or green": (0, 1)}) is Status.DONE
    assert status({"green or blue": (1, 2)}) is Status.TAGGED


def test_a_broken_file_fails_alone(three_colours: Path, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    (folder / "sub").mkdir(parents=True)
    (folder / "a.mp4").write_bytes(b"")
    (folder / "b.mp4").write_text("text\n" * 100)
    (folder / "notes.txt").write_text("text")
    (folder / "sub" / "c.mp4").write_bytes(three_colours.read_bytes())
    (folder / "p.jpg").write_bytes(encode(picture(RED, 64, 48)))
    (folder / "q.jpg").write_bytes(encode(picture(RED, 64, 48))[:200])
    outcomes = {outcome.path.name: outcome for outcome in tag([folder], tmp_path / "out")}
    assert {name: outcome.status for name, outcome in outcomes.items()} == {
        "a.mp4": Status.FAILED,
        "b.mp4": Status.FAILED,
        "notes.txt": Status.IGNORED,
        "p.jpg": Status.TAGGED,
        "q.jpg": Status.FAILED,
        "c.mp4": Status.TAGGED,
    }
    assert "empty" in outcomes["a.mp4"].message
    assert result_path(tmp_path / "out", result_name(folder / "sub" / "c.mp4"), ".html").exists()


def test_images_are_sent_in_batches_and_shown_on_a_sheet(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for i in range(20):
        (folder / f"{i:02d}.jpg").write_bytes(encode(picture((RED, GREEN, BLUE)[i % 3], 64, 48)))
    client = FakeTagger()
    outcomes = tag([folder], tmp_path / "out", client)
    assert all(outcome.status is Status.TAGGED for outcome in outcomes)
    assert client.image_requests == 3
    validate(
        json.loads(result_path(tmp_path / "out", result_name(folder / "00.jpg"), ".tags.json").read_text()),
        json.loads(PUBLISHED.read_text()),
    )
    assert (tmp_path / "out" / "images.html").read_text().count("<img ") == 20
    again = tag([folder], tmp_path / "out", client)
    assert {outcome.status for outcome in again} == {Status.DONE}
    assert client.image_requests == 3
    assert (tmp_path / "out" / "images.html").read_text().count("<img ") == 20


def test_an_output_folder_that_cannot_be_written_is_told_first(three_colours: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    client = FakeTagger()
    with pytest.raises(OutputError):
        tag([three_colours], tmp_path / "file", client)
    assert client.registrations == 0


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.outside: list[str] = []
        self.scripts = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.scripts += tag == "script"
        for name, value in attrs:
            if name in ("src", "href") and value and not value.startswith(("data:image/jpeg", "#")):
                self.outside.append(value)


def test_the_page_is_self_contained_and_escaped(three_colours: Path, tmp_path: Path) -> None:
    path = tmp_path / "in" / "<script>alert(1)<!--.mp4"
    path.parent.mkdir()
    path.write_bytes(three_colours.read_bytes())
    (outcome,) = tag([path], tmp_path / "out")
    page = next(file for file in outcome.files if file.suffix == ".html").read_text()
    links = _Links()
    links.feed(page)
    source = "../" * len(result_name(path).parts[:-1]) + "../in/%3Cscript%3Ealert%281%29%3C%21--.mp4"
    assert {link.partition("#")[0] for link in links.outside} == {source}
    assert (tmp_path / "out" / result_name(path).parent / unquote(source)).samefile(path)
    assert links.scripts == 0
    assert "&lt;script&gt;alert(1)&lt;!--.mp4" in page
    assert page.count("data:image/jpeg") == 3


_INTERRUPTED = """
import asyncio, sys
from pathlib import Path
from tests.vod.fake import FakeTagger
from vod.tagging import tag_paths

async def main():
    client = FakeTagger()
    client.hold = asyncio.Event()
    print("ready", flush=True)
    await tag_paths([Path(sys.argv[1])], Path(sys.argv[2]), client)

if __name__ == "__main__":
    asyncio.run(main())
"""


@pytest.mark.parametrize("delay", [0.0, 0.2, 1.5])
def test_ctrl_c_leaves_no_process_memory_or_half_written_file(
    three_colours: Path, tmp_path: Path, delay: float
) -> None:
    script = tmp_path / "interrupted.py"
    script.write_text(_INTERRUPTED)
    with subprocess.Popen(
        [sys.executable, script, three_colours, tmp_path / "out"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        with suppress(subprocess.TimeoutExpired):
            process.wait(delay)
        os.killpg(process.pid, signal.SIGINT)  # a terminal sends Ctrl-C to the whole group
        try:
            _, said = process.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    assert process.returncode != 0
    assert said.decode().count("Traceback") <= 2, said.decode()
    assert "SpawnProcess" not in said.decode()
    assert "leaked" not in said.decode()
    assert not list(Path("/dev/shm").glob(f"reeltag_{process.pid}_*"))
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())
    deadline = time.monotonic() + 10
    while (left := _group(process.pid)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert left == []


def _group(leader: int) -> list[str]:
    """Names of the processes of a group that have not ended."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, ProcessLookupError):
            if os.getpgid(process.pid) == leader and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.name())
    return found


@pytest.mark.parametrize("name", ["v.ts", "v.h264", "v.mov"])
def test_short_shots_are_found_again_where_seeking_is_not_exact(tmp_path: Path, name: str) -> None:
    codec = "qtrle" if name.endswith("mov") else "libx264"
    colours = [RED] * 52 + [GREEN] * 8 + [BLUE] * 40
    path = write_video(tmp_path / name, colours, codec=codec, options={"g": "250", "sc_threshold": "0"})
    tag([path], tmp_path / "out", sample=Sample.SHOTS)
    tags = result(tmp_path / "out", path)
    assert [s.start_seconds for s in tags.shots] == pytest.approx([0, 2.08, 2.4])
    assert spans(tags, "person") == [(2.08, 2.4)]
    assert tags.coverage.frames_sampled == 7


def test_a_second_pass_that_fails_leaves_the_first(tmp_path: Path) -> None:
    """The file shrinks while it is tagged: a shot without a sample becomes a gap, the others keep their tags."""
    path = write_video(tmp_path / "v.ts", [RED] * 27 + [GREEN] * 5 + [BLUE] * 30)

    class Shrinking(FakeTagger):
        async def infer_cuts(self, card: Any, window: Any) -> Any:
            path.write_bytes(path.read_bytes()[: 188 * 8])
            return await super().infer_cuts(card, window)

    (outcome,) = tag([path], tmp_path / "out", Shrinking(), fps=1.0)
    assert outcome.status is Status.TAGGED, outcome.message
    tags = result(tmp_path / "out", path)
    assert spans(tags, "car") == [(0, 1.08)]
    (gap,) = tags.coverage.gaps
    assert (gap.start_seconds, gap.end_seconds) == (1.08, 1.28)
    assert "a second time" in gap.reason

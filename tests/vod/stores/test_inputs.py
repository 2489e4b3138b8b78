"""What is found in files and folders, whatever their names and kinds; and where results go."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reeltag.errors import InputError
from tests.vod.media import RED, picture
from vod.stores.inputs import Kind, find_inputs
from vod.stores.names import MAX_PART_BYTES, result_name, shown
from vod.stores.thumbnails import encode


def touch(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"\0")
    return root


def kinds(paths: list[Path], root: Path, out: Path | None = None) -> dict[str, Kind]:
    return {shown(each.path.relative_to(root)): each.kind for each in find_inputs(paths, out)}


def test_folders_are_searched_in_order(tmp_path: Path) -> None:
    touch(tmp_path, "b.MP4", "a.jpg", "trip/c.mkv", "trip/.hidden.mp4", ".cache/d.mp4", "readme.txt")
    assert list(kinds([tmp_path], tmp_path).items()) == [
        ("a.jpg", Kind.IMAGE),
        ("b.MP4", Kind.VIDEO),
        ("readme.txt", Kind.OTHER),
        ("trip/c.mkv", Kind.VIDEO),
    ]


@pytest.mark.parametrize(
    ("suffixes", "kind"),
    [
        ("jpg jfif jpe mpo png webp bmp gif tif tiff heic heif avif jp2 j2k jxl", Kind.IMAGE),
        ("mp4 dv asf m2v h264 hevc mjpeg ivf f4v mxf ts vob 264 m2p obu", Kind.VIDEO),
    ],
)
def test_every_suffix_that_can_be_decoded_is_taken(tmp_path: Path, suffixes: str, kind: Kind) -> None:
    names = {f"a.{suffix}" for suffix in suffixes.split()}
    assert kinds([touch(tmp_path, *names)], tmp_path) == dict.fromkeys(names, kind)


def test_names_depend_on_the_source_alone(tmp_path: Path) -> None:
    touch(tmp_path, "A/x.mp4", "B/x.mp4", "A/sub/y.jpg")
    alone = {each.name for folder in "AB" for each in find_inputs([tmp_path / folder])}
    touch(tmp_path, "A/x.mov", "A/x.jpg")
    together = {each.name for each in find_inputs([tmp_path])}
    named = {each.name for each in find_inputs([tmp_path / "A" / "x.mp4", tmp_path / "B" / "x.mp4"])}
    assert named < alone < together
    assert len(together) == 5
    assert Path("/", result_name(tmp_path / "A" / "x.mp4")) == (tmp_path / "A" / "x.mp4").resolve()


def test_a_relative_path_and_a_link_to_a_folder_lead_to_the_same_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(tmp_path, "real/x.mp4")
    (tmp_path / "link").symlink_to("real")
    monkeypatch.chdir(tmp_path / "real")
    assert result_name(Path("x.mp4")) == result_name(Path("../link/x.mp4")) == result_name(tmp_path / "real" / "x.mp4")


@given(st.binary(min_size=1, max_size=255).filter(lambda raw: not set(raw) & {0, 0x2F} and raw not in (b".", b"..")))
def test_any_name_has_a_result_that_can_be_written(raw: bytes) -> None:
    part = result_name(Path("/d", os.fsdecode(raw))).name
    assert len(part.encode()) <= MAX_PART_BYTES
    assert (part == os.fsdecode(raw)) == (len(raw) <= MAX_PART_BYTES and part.encode() == raw)
    assert shown(os.fsdecode(raw)).encode().decode().isprintable()


def test_shortened_names_stay_apart() -> None:
    names = [b"caf\xe9.mp4", b"caf\xe8.mp4", b"a" * 248 + b".mp4", b"a" * 249 + b".mp4", "é".encode() * 120]
    assert len({result_name(Path("/d", os.fsdecode(name))) for name in names}) == 5


def test_a_file_is_taken_once(tmp_path: Path) -> None:
    touch(tmp_path, "a.mp4")
    assert len(find_inputs([tmp_path, tmp_path / "a.mp4"])) == 1


def test_links_to_folders_are_followed_once(tmp_path: Path) -> None:
    touch(tmp_path, "in/b/x.mp4", "elsewhere/y.mp4")
    (tmp_path / "in" / "a").symlink_to("b")
    (tmp_path / "in" / "c").symlink_to("../elsewhere")
    (tmp_path / "in" / "b" / "loop").symlink_to("..")
    assert kinds([tmp_path / "in"], tmp_path / "in") == {"a/x.mp4": Kind.VIDEO, "c/y.mp4": Kind.VIDEO}


def test_the_output_folder_is_not_searched_unless_it_is_named(tmp_path: Path) -> None:
    touch(tmp_path, "x.mp4", "out/y.mp4")
    assert kinds([tmp_path], tmp_path, tmp_path / "out") == {"x.mp4": Kind.VIDEO}
    assert len(kinds([tmp_path], tmp_path, tmp_path)) == 2
    assert kinds([tmp_path / "out"], tmp_path, tmp_path / "out") == {"out/y.mp4": Kind.VIDEO}


def test_content_decides_between_image_and_video(tmp_path: Path) -> None:
    jpeg, mp4 = encode(picture(RED, 32, 32)), b"\0\0\0\x20ftypisom" + bytes(20)
    for name, data in {
        "photo.mp4": jpeg,
        "film.jpg": mp4,
        "film.gif": mp4,
        "raw.mjpeg": jpeg,
        "code.ts": b"export const x = 1;\n",
        "film.ts": b"\x47" + bytes(187),
        "raw.nef": b"II*\0" + bytes(60),
    }.items():
        (tmp_path / name).write_bytes(data)
    assert kinds([tmp_path], tmp_path) == {
        "code.ts": Kind.OTHER,
        "film.gif": Kind.VIDEO,
        "film.jpg": Kind.VIDEO,
        "film.ts": Kind.VIDEO,
        "photo.mp4": Kind.IMAGE,
        "raw.mjpeg": Kind.VIDEO,
        "raw.nef": Kind.OTHER,
    }


def test_a_named_file_without_known_suffix_is_judged_by_its_content(tmp_path: Path) -> None:
    (tmp_path / "photo").write_bytes(encode(picture(RED, 32, 32)))
    (tmp_path / "film").write_bytes(b"who knows")
    assert [each.kind for each in find_inputs([tmp_path / "photo", tmp_path / "film"])] == [Kind.IMAGE, Kind.VIDEO]


def test_pipes_sockets_devices_and_broken_links_fail_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "good.mp4")
    os.mkfifo(tmp_path / "pipe.mp4")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "device.mp4").symlink_to("/dev/null")
    (tmp_path / "nothing.jpg").symlink_to("gone.jpg")
    with closing(socket.socket(socket.AF_UNIX)) as listening:
        monkeypatch.chdir(tmp_path)  # a socket's path is short
        listening.bind("socket.mkv")
        found = {each.path.name: each for each in find_inputs([tmp_path])}
    broken = {name: each.reason for name, each in found.items() if each.kind is Kind.BROKEN}
    assert set(broken) == {"pipe.mp4", "device.mp4", "nothing.jpg", "socket.mkv"}
    assert "named pipe" in broken["pipe.mp4"]
    assert "device" in broken["device.mp4"]
    assert "socket" in broken["socket.mkv"]
    assert "link to nothing" in broken["nothing.jpg"]
    assert found["pipe"].kind is Kind.OTHER
    assert found["good.mp4"].kind is Kind.VIDEO
    (named,) = find_inputs([tmp_path / "pipe"])
    assert named.kind is Kind.BROKEN


_LISTED = """
import os, sys
from pathlib import Path
from vod.stores.inputs import find_inputs
if not os.getuid():
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
for each in find_inputs([Path(sys.argv[1])]):
    print(each.path.name, each.kind.value, each.reason)
"""


@pytest.fixture
def public_folder() -> Iterator[Path]:
    """A folder that other users can enter, unlike those of pytest."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder
        for each in folder.rglob("*"):
            each.chmod(0o755)


def test_folders_that_cannot_be_read_fail_by_name(public_folder: Path) -> None:
    touch(public_folder, "closed/a.mp4", "listed/b.mp4", "c.mp4")
    (public_folder / "closed").chmod(0o000)
    (public_folder / "listed").chmod(0o444)
    ended = subprocess.run(
        [sys.executable, "-c", _LISTED, str(public_folder)], capture_output=True, text=True, check=True, timeout=60
    )
    lines = {line.split(" ", 2)[0]: line.split(" ", 2)[1:] for line in ended.stdout.splitlines()}
    assert lines["c.mp4"][0] == "video"
    assert lines["closed"] == ["broken", "the folder cannot be read: Permission denied"]
    assert lines["b.mp4"] == ["broken", "Permission denied"]


def test_a_missing_path_fails_by_name_and_alone_it_is_told_at_once(tmp_path: Path) -> None:
    touch(tmp_path, "a.mp4")
    with pytest.raises(InputError, match=r"none\.mp4 does not exist"):
        find_inputs([tmp_path / "none.mp4"])
    too_long = tmp_path / ("x" * 300 + ".mp4")
    found = find_inputs([tmp_path / "none.mp4", tmp_path / "a.mp4", too_long])
    assert [each.kind for each in found] == [Kind.BROKEN, Kind.VIDEO, Kind.BROKEN]
    assert "does not exist" in found[0].reason
    assert "too long" in found[2].reason


def test_a_thousand_folders_deep_is_no_trouble(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for _ in range(1100):
        Path("d").mkdir()
        os.chdir("d")
    Path("x.mp4").write_bytes(b"\0")
    os.chdir(tmp_path)
    try:
        assert [each.path.name for each in find_inputs([tmp_path])] == ["x.mp4"]
    finally:
        subprocess.run(["rm", "-rf", str(tmp_path / "d")], check=True)

from __future__ import annotations

from pathlib import Path

import pytest

from reeltag.errors import InputError
from tests.vod.media import RED, picture
from vod.inputs import Kind, find_inputs
from vod.thumbnails import encode


def touch(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return root


def names(paths: list[Path]) -> dict[str, str]:
    return {str(each.path.name): str(each.name) for each in find_inputs(paths)}


def test_folders_are_searched_in_order_and_mirrored(tmp_path: Path) -> None:
    touch(tmp_path, "b.MP4", "a.jpg", "trip/c.mkv", "trip/.hidden.mp4", ".cache/d.mp4", "readme.txt")
    found = [(str(i.path.relative_to(tmp_path)), i.kind, str(i.name)) for i in find_inputs([tmp_path])]
    assert found == [
        ("a.jpg", Kind.IMAGE, "a"),
        ("b.MP4", Kind.VIDEO, "b"),
        ("readme.txt", Kind.OTHER, "readme"),
        ("trip/c.mkv", Kind.VIDEO, "trip/c"),
    ]


def test_names_that_clash_keep_their_suffix(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "a.mp4", "b.mp4", "a.mp4.mkv")
    assert names([tmp_path]) == {"a.jpg": "a.jpg", "a.mp4": "a.mp4", "b.mp4": "b", "a.mp4.mkv": "a.mp4.mkv"}


def test_the_contact_sheets_name_is_taken(tmp_path: Path) -> None:
    assert names([touch(tmp_path, "images.mp4")]) == {"images.mp4": "images.mp4"}


def test_one_name_in_two_folders_is_numbered(tmp_path: Path) -> None:
    touch(tmp_path, "x/a.mp4", "y/a.mp4")
    found = find_inputs([tmp_path / "x" / "a.mp4", tmp_path / "y" / "a.mp4"])
    assert [str(each.name) for each in found] == ["a.mp4", "a.mp4.2"]


def test_a_file_is_taken_once(tmp_path: Path) -> None:
    touch(tmp_path, "a.mp4")
    assert len(find_inputs([tmp_path, tmp_path / "a.mp4"])) == 1


def test_a_named_file_without_known_suffix_is_judged_by_its_content(tmp_path: Path) -> None:
    (tmp_path / "photo").write_bytes(encode(picture(RED, 32, 32)))
    (tmp_path / "film").write_bytes(b"who knows")
    assert [each.kind for each in find_inputs([tmp_path / "photo", tmp_path / "film"])] == [Kind.IMAGE, Kind.VIDEO]


def test_a_missing_path_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.mp4 does not exist"):
        find_inputs([tmp_path / "none.mp4"])

"""What an editor puts around class names is no part of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from exporters.catalogue.class_names import read_labels
from exporters.catalogue.entries import CHECKPOINT_MODELS, MODELS
from reeltag.errors import InputError


@pytest.mark.parametrize(
    "content",
    [
        b"cat\ndog\nfox",
        b"\xef\xbb\xbfcat\ndog\nfox\n",
        b"cat\r\ndog\r\nfox\r\n",
        b"cat\rdog\rfox",
        b"cat \n\tdog\nfox\n\n  \n",
        "cat\r\ndog\r\nfox\r\n".encode("utf-16"),
        b"\xfe\xff" + "cat\ndog\nfox".encode("utf-16-be"),
    ],
)
def test_names_are_read_alike(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "labels.txt").write_bytes(content)
    assert read_labels(tmp_path / "labels.txt") == ("cat", "dog", "fox")


def test_names_may_hold_what_separates_no_lines(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("ice cream\nA\u2028B\nC\x0cD\n", "utf-8")
    assert read_labels(tmp_path / "labels.txt") == ("ice cream", "A\u2028B", "C\x0cD")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"cat\n\ndog", "nothing in line 2"),
        (b"cat\n cat", "'cat' in lines 1 and 2"),
        (b"\xef\xbb\xbf\n", "is empty"),
        (b"\xff\xfec", "read"),
    ],
)
def test_what_is_no_name_is_told(tmp_path: Path, content: bytes, problem: str) -> None:
    (tmp_path / "bad.txt").write_bytes(content)
    with pytest.raises(InputError, match=rf"bad\.txt .*{problem}.*one class name a line"):
        read_labels(tmp_path / "bad.txt")


def test_published_names_are_as_many_as_published() -> None:
    counts = {name: len(spec.labels) for name, spec in (MODELS | CHECKPOINT_MODELS).items()}
    assert counts["efficientnet_lite0"] == 1000
    assert counts["yolox_s"] == 80
    assert counts["swiftnet_rn18"] == 19

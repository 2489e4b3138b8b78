"""The drawing of the rooms in docs/architecture.md."""

from __future__ import annotations

from docs.corridor import PICTURE, arrows, drawn, rows


def test_the_picture_is_current() -> None:
    assert PICTURE.read_text("utf-8") == drawn(), "run: python -m docs.corridor"


def test_no_arrow_goes_against_the_grain() -> None:
    found = arrows(rows())
    assert len(found) > len(rows())
    assert all(imported < importer for importer, imported in found)

"""A `tags.json` read piece by piece says what it says when it is read as a whole."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vod.stores import documents
from vod.stores.documents import Document

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)
DOCUMENTS = st.dictionaries(st.sampled_from(["shots", "tags", "frames", "source", "é\u2028"]), JSON)


def read(content: bytes) -> dict[str, Any]:
    return {key: list(value) if isinstance(value, Iterator) else value for key, value in Document(io.BytesIO(content))}


@settings(derandomize=True, deadline=None)
@given(DOCUMENTS, st.sampled_from([None, 1]), st.booleans(), st.integers(1, 9))
def test_pieces_are_the_whole(document: dict[str, Any], indent: int | None, is_ascii: bool, chunk: int) -> None:
    content = json.dumps(document, indent=indent, ensure_ascii=is_ascii).encode("utf-8", "replace")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(documents, "_CHUNK", chunk)
        assert read(content) == json.loads(content)


def test_what_nobody_looks_at_is_passed_over() -> None:
    content = b'{"shots": [{"a": 1}, {"a": 2}], "source": {"b": [3]}}'
    assert [
        (key, next(value) if isinstance(value, Iterator) else value) for key, value in Document(io.BytesIO(content))
    ] == [
        ("shots", {"a": 1}),
        ("source", {"b": [3]}),
    ]


@pytest.mark.parametrize(
    "content", [b"", b"[1]", b'{"a": 1', b'{"a" 1}', b'{"shots": [1, 2}', b'{"shots": [1', b'{"a": x}']
)
def test_what_is_none_is_told(content: bytes) -> None:
    with pytest.raises(ValueError, match="document"):
        read(content)

"""Teaches schemathesis what an image is; `SCHEMATHESIS_HOOKS` names this file."""

from __future__ import annotations

import io
import re
from typing import Any

import schemathesis
from hypothesis import strategies as st
from PIL import Image


def pictures(image_format: str) -> st.SearchStrategy[bytes]:
    """Encoded pictures of a few pixels."""

    def encoded(width: int, height: int) -> bytes:
        buffer = io.BytesIO()
        Image.new("RGB", (width, height)).save(buffer, image_format)
        return buffer.getvalue()

    return st.builds(encoded, st.integers(1, 64), st.integers(1, 64))


for image_format in ("JPEG", "PNG", "WEBP", "BMP"):
    schemathesis.openapi.media_type(f"image/{image_format.lower()}", pictures(image_format))
schemathesis.openapi.media_type("application/octet-stream", pictures("PNG"))
schemathesis.openapi.media_type("application/offset+octet-stream", pictures("PNG"))
schemathesis.openapi.format("binary", pictures("PNG"))


@schemathesis.hook  # type: ignore[untyped-decorator,unused-ignore]
def before_call(context: Any, case: Any, kwargs: Any) -> None:
    """Send a form that can only be seen to be wrong before it is on the wire as an empty one.

    There a list of nothing is not there, and numbers, truth values and null are texts like any other.
    """
    if isinstance(case.body, dict):
        urls = case.body.get("url", [""])
        is_plain = isinstance(urls, list) and all(isinstance(url, str) for url in urls)
        if not is_plain or [] in case.body.values():
            case.body = {}
    if not (case.headers or {}).get("Priority", "none").strip(" ,;"):
        case.headers["Priority"] = "none"  # an empty one is as good as none at all
    _mend_jobs(case)


def _mend_jobs(case: Any) -> None:
    """Leave out what is right by its schema and can still not be right: pages and keys of others, files of no video."""
    query, headers = case.query or {}, case.headers or {}
    if re.fullmatch("[A-Za-z0-9_.=-]+", str(query.get("cursor", ""))):
        del query["cursor"]
    if case.path.endswith("/results"):
        query.setdefault("video", 0)
    if "x-schemathesis-unknown-property" in headers:
        headers.pop("Tus-Resumable", None)  # headers that nobody knows are no mistake: this is one
    if not re.fullmatch("filename ([A-Za-z0-9+/]{4}){1,200}", headers.get("Upload-Metadata", "filename AAAA")):
        headers["Upload-Metadata"] = "filename ***"  # other names are taken, and not looked at
    sources = case.body.get("sources") if isinstance(case.body, dict) else None
    if isinstance(sources, list):
        case.body["sources"] = ["x" + one if str(one).startswith("/") else one for one in sources]
    key = headers.get("Idempotency-Key")
    if key is not None:
        if re.fullmatch("[!-~]+", key):
            del headers["Idempotency-Key"]
        elif re.fullmatch("[!-~]+", key.strip()):
            headers["Idempotency-Key"] = ""

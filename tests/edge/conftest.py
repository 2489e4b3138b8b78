from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from edge.capture import gstreamer
from reeltag.errors import SetupError

ROOT = Path(__file__).parent.parent.parent
PACKAGES = (
    "apt-get install python3-gi gir1.2-gst-plugins-base-1.0 gir1.2-gst-rtsp-server-1.0 gstreamer1.0-plugins-good "
    "gstreamer1.0-plugins-ugly gstreamer1.0-libav"
)


@pytest.fixture(scope="session")
def gst() -> Any:
    """GStreamer; the test skips without it."""
    try:
        return gstreamer.load()
    except SetupError as error:
        pytest.skip(f"{error} ({PACKAGES})")


@pytest.fixture
def suppression(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """What the server's `nms` backend does."""
    monkeypatch.syspath_prepend(str(ROOT / "model_repository/nms/1"))
    import suppression as server

    yield server
    sys.modules.pop("suppression", None)

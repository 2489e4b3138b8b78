from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from exporters.publishing import repository
from reeltag.embedded import TritonFiles, find
from reeltag.errors import EmbeddedUnavailable

INSTANCES: Final = 2


@pytest.fixture(scope="session")
def small_repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository that loads fast: `nms` alone, in several processes."""
    whole, small = tmp_path_factory.mktemp("whole"), tmp_path_factory.mktemp("small")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REELTAG_NMS_INSTANCES", str(INSTANCES))
        repository.publish(whole)
    (whole / "nms").rename(small / "nms")
    return small


@pytest.fixture(scope="session")
def files() -> TritonFiles:
    try:
        return find()
    except EmbeddedUnavailable as error:
        pytest.skip(str(error))

from __future__ import annotations

from pathlib import Path

import pytest

from exporters.publishing import repository
from reeltag.embedded import TritonFiles, find
from reeltag.errors import EmbeddedUnavailable


@pytest.fixture(scope="session")
def small_repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository that loads fast: `nms` alone."""
    whole, small = tmp_path_factory.mktemp("whole"), tmp_path_factory.mktemp("small")
    repository.publish(whole)
    (whole / "nms").rename(small / "nms")
    return small


@pytest.fixture(scope="session")
def files() -> TritonFiles:
    try:
        return find()
    except EmbeddedUnavailable as error:
        pytest.skip(str(error))

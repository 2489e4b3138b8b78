from __future__ import annotations

import pytest

from reeltag.embedded import find
from reeltag.errors import EmbeddedUnavailable


@pytest.fixture
def embedded() -> None:
    try:
        find()
    except EmbeddedUnavailable as error:
        pytest.skip(str(error))

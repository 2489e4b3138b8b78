"""A gateway for each module, whose fake Triton starts afresh for each test; modules say what it serves in `served`."""

from __future__ import annotations

import httpx
import pytest

from tests.gateway.fakes import FakeTagger


@pytest.fixture
def tagger(served: tuple[FakeTagger, httpx.Client]) -> FakeTagger:
    served[0].reset()
    return served[0]


@pytest.fixture
def client(served: tuple[FakeTagger, httpx.Client], tagger: FakeTagger) -> httpx.Client:
    return served[1]

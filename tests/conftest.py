from __future__ import annotations

import atexit
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from exporters.publishing import repository
from reeltag.embedded import EmbeddedTriton, find
from reeltag.errors import EmbeddedUnavailable

ROOT = Path(__file__).parent.parent

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # Shells ignore it in what they run in the background, and so would all that tests start and interrupt.
    signal.signal(signal.SIGINT, signal.default_int_handler)


# What tests start shares nothing with what the user of this machine runs; jobs have workers only where they are tested.
os.environ["REELTAG_STATE_DIR"] = tempfile.mkdtemp(prefix="reeltag-tests-")
os.environ["REELTAG_JOBS_WORKER"] = "false"
atexit.register(shutil.rmtree, os.environ["REELTAG_STATE_DIR"], ignore_errors=True)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real photographs and videos beside the project; the test skips without it."""
    folder = ROOT.parent / "shared"
    if not folder.is_dir():
        pytest.skip("no folder ../shared with photographs and videos")
    return folder


@pytest.fixture(scope="session")
def model_repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model repository with every bundled model."""
    folder = tmp_path_factory.mktemp("model_repository")
    repository.publish(folder)
    return folder


@pytest.fixture(scope="session")
def triton(model_repository: Path) -> Iterator[EmbeddedTriton]:
    """One real Triton server for all tests."""
    try:
        find()
    except EmbeddedUnavailable as error:
        pytest.skip(str(error))
    with EmbeddedTriton(model_repository) as server:
        yield server

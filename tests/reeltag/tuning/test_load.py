from __future__ import annotations

from pathlib import Path

import pytest

from reeltag.errors import ServiceError
from reeltag.tuning.load import closed_loop
from reeltag.tuning.pictures import jpegs
from tests.gateway.running import running


def test_a_load_counts_answers_and_how_long_they_took(tmp_path: Path) -> None:
    with running(tmp_path, delay_seconds=0.05) as server:
        url = f"http://127.0.0.1:{server.port}"
        loaded = closed_loop(url, jpegs(2), tasks="detect", clients=4, seconds=0.5)
        assert loaded.p95_seconds >= 0.05
        assert 4 <= loaded.images_per_second * 0.5 <= 4 * 0.6 / 0.05
        with pytest.raises(ServiceError, match=r"answers HTTP/1\.1 422"):
            closed_loop(url, jpegs(1), tasks="guess", clients=1, seconds=0.5)


def test_pictures_are_the_same_each_time_and_differ_from_each_other() -> None:
    one, other = jpegs(2)
    assert jpegs(2) == [one, other]
    assert one != other
    assert 100 << 10 < len(one) < 250 << 10

"""What workers share: quotas of keys, metrics, limits."""

from __future__ import annotations

from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from gateway.access import Access, burst
from gateway.workers import place
from gateway.workers.merging import merged
from gateway.workers.place import Place, Quotas, retire
from gateway.workers.shares import share_of
from reeltag.errors import Overloaded
from reeltag.keys import KeyFile
from reeltag.settings import Settings

ONE = b"""# HELP a_total Counted.
# TYPE a_total counter
a_total{x="1"} 2.0
# HELP g Now.
# TYPE g gauge
g 3.0
# HELP h Times.
# TYPE h histogram
h_bucket{le="1.0"} 1.0
h_bucket{le="+Inf"} 2.0
h_count 2.0
h_sum 5.0
# HELP reeltag_triton_images_total Of Triton.
# TYPE reeltag_triton_images_total counter
reeltag_triton_images_total{model="decode"} 7.0
"""
OTHER = b"""# HELP a_total Counted.
# TYPE a_total counter
a_total{x="1"} 5.0
a_total{x="2"} 1.0
# HELP g Now.
# TYPE g gauge
g 4.0
# HELP reeltag_triton_images_total Of Triton.
# TYPE reeltag_triton_images_total counter
reeltag_triton_images_total{model="decode"} 6.0
"""


def values(text: bytes) -> dict[str, float]:
    samples = [sample for family in text_string_to_metric_families(text.decode()) for sample in family.samples]
    return {one.name + "".join(f" {k}={v}" for k, v in one.labels.items()): one.value for one in samples}


def test_metrics_are_summed_but_for_those_of_triton() -> None:
    assert values(merged([ONE, OTHER])) == {
        "a_total x=1": 7.0,
        "a_total x=2": 1.0,
        "g": 7.0,
        "h_bucket le=1.0": 1.0,
        "h_bucket le=+Inf": 2.0,
        "h_count": 2.0,
        "h_sum": 5.0,
        "reeltag_triton_images_total model=decode": 7.0,
    }


def test_what_a_worker_counted_outlives_it(tmp_path: Path) -> None:
    Place(tmp_path, 1).note_metrics(ONE)
    retire(tmp_path, 1)
    retire(tmp_path, 1)
    whole = values(Place(tmp_path, 0).with_others(OTHER))
    assert (whole["a_total x=1"], whole["g"], whole["h_count"]) == (7.0, 4.0, 2.0)


@pytest.fixture
def workers(tmp_path: Path) -> list[Access]:
    """Of one gateway, as if each were in a process of its own."""
    keys = KeyFile(tmp_path / "keys.json")
    made = []
    for index in range(2):
        place.current = Place(tmp_path, index)
        made.append(Access(keys, lambda: 0.0))
    place.current = None
    return made


def test_a_key_has_one_quota_for_all_workers(workers: list[Access], tmp_path: Path) -> None:
    _, secret = KeyFile(tmp_path / "keys.json").create("tenant", images_per_second=10, concurrent_requests=2)
    header, (one, other) = f"Bearer {secret}", workers
    with one.admitted(header) as caller, other.admitted(header) as second:
        with pytest.raises(Overloaded, match="2 requests of this key"), other.admitted(header):
            pass
        caller.take(int(burst(10)) - 1)
        second.take(1)
        with pytest.raises(Overloaded, match="10 images a second"):
            second.take(1)
    with one.admitted(header), other.admitted(header):
        pass


def test_a_worker_that_died_holds_no_requests(workers: list[Access], tmp_path: Path) -> None:
    _, secret = KeyFile(tmp_path / "keys.json").create("tenant", concurrent_requests=1)
    held = workers[1].admitted(f"Bearer {secret}")
    held.__enter__()
    with pytest.raises(Overloaded), workers[0].admitted(f"Bearer {secret}"):
        pass
    retire(tmp_path, 1)
    with workers[0].admitted(f"Bearer {secret}"):
        pass


def test_more_keys_than_there_is_room_for_are_counted_by_each_worker(tmp_path: Path) -> None:
    with Quotas(tmp_path) as quotas:
        found = [quotas.use(str(i), 1, 0) for i in range(1030)]
    assert sum(one is None for one in found) == 1030 - 1024


def test_limits_hold_for_all_workers_together() -> None:
    share = share_of(Settings(workers=4, max_connections=1000, max_waiting_images=200, max_inflight_requests=2))
    assert (share.max_connections, share.max_waiting_images, share.max_inflight_requests) == (250, 50, 1)
    assert share.max_buffered_bytes == Settings().max_buffered_bytes // 4

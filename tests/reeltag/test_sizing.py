from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reeltag import sizing
from reeltag.errors import InvalidOption
from reeltag.machine import Machine, this_machine
from reeltag.settings import Settings, load_settings
from reeltag.sizing import NETWORKS, TUNED_FILE, Tuned, by_rule, explained, instance_mib, read_tuned, shortage

MIB = 1 << 20


def machine(cores: int, mib: int | None = None) -> Machine:
    return Machine(cores, None, mib and mib * MIB)


@pytest.mark.parametrize(
    ("cores", "instances", "threads", "batch", "inflight"),
    [(1, 1, 1, 8, 3), (2, 2, 1, 8, 6), (4, 4, 1, 8, 12), (14, 14, 1, 8, 42), (16, 16, 1, 8, 48), (128, 64, 2, 8, 192)],
)
def test_the_rule_by_cores(cores: int, instances: int, threads: int, batch: int, inflight: int) -> None:
    found = by_rule(machine(cores))
    assert (found.network_instances, found.network_threads) == (instances, threads)
    assert (found.batch_max_images, found.max_inflight_requests) == (batch, inflight)
    assert found.decode_workers == cores


@given(st.integers(1, 256), st.one_of(st.none(), st.integers(64, 1 << 20)))
def test_whatever_the_machine_settings_take_it_and_memory_holds_it(cores: int, mib: int | None) -> None:
    found = by_rule(machine(cores, mib))
    Settings(**vars(found))
    assert found.network_instances * found.network_threads <= cores
    needed = NETWORKS * found.network_instances * instance_mib(found.network_threads)
    is_least = (found.network_instances, found.network_threads) == (1, 1)
    assert mib is None or is_least or needed + sizing.REST_MIB <= mib


def test_what_is_not_set_follows_from_what_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REELTAG_NETWORK_INSTANCES", "5")
    assert load_settings().max_inflight_requests == 15
    monkeypatch.setenv("REELTAG_NETWORK_THREADS", "7")
    assert load_settings().batch_max_images == 28
    monkeypatch.setenv("REELTAG_BATCH_MAX_IMAGES", "3")
    settings = load_settings()
    assert settings.batch_max_images == 3
    text = explained(dict(settings), settings.model_fields_set, settings.state_dir)
    assert "5 of each network (set), with 7 threads (set)" in text
    assert "15 in flight," in text


def tuned(cores: int) -> Tuned:
    values = {"network_instances": 3, "network_threads": 2, "max_inflight_requests": 9}
    return Tuned(cores, this_machine().memory_mib, values, 1.2, "for throughput")


def test_what_was_tuned_comes_before_the_rule_and_behind_what_is_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / TUNED_FILE).write_text(tuned(this_machine().cores).to_json())
    monkeypatch.setenv("REELTAG_STATE_DIR", str(tmp_path))
    settings = load_settings(max_inflight_requests=4)
    assert (settings.network_instances, settings.network_threads, settings.max_inflight_requests) == (3, 2, 4)
    assert "3 of each network (tuned)" in explained(dict(settings), {"max_inflight_requests"}, tmp_path)


def test_what_was_tuned_on_another_machine_is_ignored_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / TUNED_FILE).write_text(tuned(999).to_json())
    monkeypatch.setenv("REELTAG_STATE_DIR", str(tmp_path))
    settings = load_settings()
    assert settings.max_inflight_requests == by_rule(this_machine()).max_inflight_requests
    assert f"{tmp_path / TUNED_FILE} is of a machine with 999 cores" in explained(dict(settings), (), tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        "{}",
        json.dumps({"cores": 2, "memory_mib": 1, "values": {"port": 80}, "gain": 1, "said": ""}),
        json.dumps({"cores": 2, "memory_mib": 1, "values": {"workers": "two"}, "gain": 1, "said": ""}),
    ],
)
def test_a_file_that_is_no_tuning_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / TUNED_FILE).write_text(text)
    with pytest.raises(InvalidOption, match=rf"{TUNED_FILE} cannot be used .* run `reeltag tune` again, or delete it"):
        read_tuned(tmp_path)


def test_too_little_memory_is_said_with_what_would_be_enough() -> None:
    assert shortage(machine(2, 2048)) is None
    assert shortage(machine(2)) is None
    said = shortage(machine(1, 200))
    assert said is not None
    assert "may use 200 MiB" in said
    assert "docker run --memory=2g" in said

"""What is older than it may be goes, although nothing happens: nothing of it is left in any file."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pytest

from benchmarks.brokers import wait_for
from edge.configuration.loading import parse
from edge.events.lines_file import FileSink
from edge.events.publisher import Publisher
from edge.events.spool import Incoming, Row, Spool
from edge.traffic.salts import Salts
from edge.veils import NOTHING
from edge.words import Event, FrameTime

PLATE = "KALX359"
DAY = 86400.0


def holding(folder: Path) -> list[str]:
    """Files with the plate in them."""
    return [path.name for path in folder.rglob("*") if path.is_file() and PLATE.encode() in path.read_bytes()]


def keeper(folder: Path, keep_seconds: float) -> Publisher:
    text = (
        f"cameras: [{{name: north, source: x}}]\nevents:\n  keep_days: {keep_seconds / DAY:.9f}\n"
        "  file: {path: events.jsonl}\n  snapshots: {folder: snapshots, kinds: [vehicle_stopped]}\n"
    )
    return Publisher(parse(text, folder / "watch.yaml"))


def plate(number: int) -> Event:
    fields = {"track": number, "plate": PLATE, "confidence": 1.0, "readings": 8}
    return Event(f"{number:032x}", "plate", "north", FrameTime(number, number / 10, time.time(), 0.0), fields)


def test_a_quiet_road_keeps_no_plate_for_longer(tmp_path: Path) -> None:
    told = keeper(tmp_path, 2.0)
    try:
        told.publish([plate(number) for number in range(50)])
        stopped = Event("a" * 32, "vehicle_stopped", "north", FrameTime(0, 0.0, time.time(), 0.0))
        assert told.snapshots is not None
        told.snapshots.take(stopped, np.zeros((90, 90, 3), np.uint8), np.array([9.0, 9, 80, 80]), NOTHING)
        wait_for("the file", lambda: "events.jsonl" in holding(tmp_path))
        assert (tmp_path / "snapshots" / stopped["snapshot"]).is_file()
        wait_for("the end of its time", lambda: not holding(tmp_path))
        wait_for("the end of the picture", lambda: not list((tmp_path / "snapshots").iterdir()))
    finally:
        told.close()
    assert not holding(tmp_path)


def test_what_grew_too_old_while_nobody_watched_goes_at_the_start(tmp_path: Path) -> None:
    told = keeper(tmp_path, DAY)
    told.publish([plate(number) for number in range(50)])
    told.close()
    damaged = tmp_path / "spool/events.broken-1.sqlite"
    damaged.write_text(PLATE)
    assert set(holding(tmp_path)) == {"events.jsonl", "events.sqlite", damaged.name}
    for path in (tmp_path / "events.jsonl", damaged):
        os.utime(path, (time.time() - 60, time.time() - 60))
    told = keeper(tmp_path, 1.0)
    try:
        wait_for("their end", lambda: not holding(tmp_path))
    finally:
        told.close()


def test_what_is_deleted_is_overwritten(tmp_path: Path) -> None:
    """Also in the log beside the file, and where younger events stay."""
    spool = Spool(tmp_path, ["file"], max_bytes=10**6, keep_seconds=3600)
    now = time.time()
    spool.add([Incoming("young", now, "a/b", "{}")])
    spool.add([Incoming(str(number), now - 3599, "a/b", f'"{PLATE}"') for number in range(200)])
    spool._keep_seconds = 3500
    assert holding(tmp_path)
    spool.forget()
    assert not holding(tmp_path)
    assert [row.id for row in spool.after("file", 10)] == ["young"]
    assert spool.lost() == {"old": 200}
    spool.close()


def test_a_file_is_closed_after_a_tenth_of_its_days_and_after_a_restart_too(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool", ["file"], max_bytes=10**6, keep_seconds=3600)
    sink = FileSink({"path": "events.jsonl"}, tmp_path, keep_days=1 / 24)
    (tmp_path / "events.jsonl").write_text(f'{{"id": "1", "time": {time.time() - 400}}}\n')
    sink.start(spool)
    sink.send([Row(2, "2", "a/b", f'{{"id": "2", "time": {time.time()}}}')])
    closed = [path.name for path in tmp_path.glob("events-*.jsonl")]
    assert len(closed) == 1
    sink.send([Row(3, "3", "a/b", f'{{"id": "3", "time": {time.time()}}}')])
    sink.forget()
    assert [path.name for path in tmp_path.glob("events-*.jsonl")] == closed  # it is young
    assert len((tmp_path / "events.jsonl").read_text().splitlines()) == 2
    old = time.time() - 3700
    os.utime(tmp_path / closed[0], (old, old))
    sink.forget()
    assert not list(tmp_path.glob("events-*.jsonl"))
    sink.close()
    spool.close()


def test_a_salt_is_kept_by_cameras_and_recordings_whose_times_differ(tmp_path: Path) -> None:
    salts, now = Salts(tmp_path / "salt.json", hours=1.0), time.time()
    made = salts.hashed(PLATE, now + 4000)  # of a recording, ahead of its time
    salts.forget()
    assert salts.hashed(PLATE, now + 3999) == made  # of another camera, a moment earlier
    assert Salts(tmp_path / "salt.json", hours=1.0).hashed(PLATE, now + 4001) == made


@pytest.mark.parametrize("is_over", [False, True])
def test_a_salt_whose_time_is_over_is_not_on_the_disk(tmp_path: Path, is_over: bool) -> None:
    path = tmp_path / "salt.json"
    salts = Salts(path, hours=1.0)
    name, digest = salts.hashed(PLATE, time.time() - (3601 if is_over else 3500))
    salts.forget()
    assert path.exists() is not is_over
    assert (salts.hashed(PLATE, time.time()) == (name, digest)) is not is_over


def test_the_publisher_has_salts_forgotten(tmp_path: Path) -> None:
    salts = Salts(tmp_path / "salt.json", hours=1 / 3600)
    salts.hashed(PLATE, time.time())
    told = Publisher(parse("cameras: [{name: north, source: x}]", tmp_path / "watch.yaml"), salts=salts)
    try:
        wait_for("its end", lambda: not (tmp_path / "salt.json").exists())
    finally:
        told.close()

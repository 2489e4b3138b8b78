"""What the edge says of itself: the device's figures, systemd's watchdog, Prometheus."""

from __future__ import annotations

import os
import socket
import stat
import threading
import time
from pathlib import Path

import httpx
import pytest
from prometheus_client import CollectorRegistry, generate_latest

from edge.capture.addresses import parse as parse_address
from edge.capture.clocks import Clocks
from edge.health.metrics import EdgeMetrics, serve_metrics
from edge.health.watchdog import Watchdog
from edge.options import CameraOptions, WatchOptions, named
from edge.pipeline.loop import Loop
from edge.pipeline.suppression import Suppression
from edge.watching import Watch
from reeltag.errors import PortInUse
from reeltag.tegrastats import DeviceFigures, Tegrastats, parse
from tests.edge.test_events import publisher
from tests.edge.test_loop import SlowNetwork, watched_pattern
from tests.edge.test_sources import free_port

# Lines as NVIDIA's documentation and boards print them: JetPack 5 and 6 (Orin), 4 (Xavier NX) and 4 (TX2).
ORIN = (
    "11-05-2024 15:40:23 RAM 4722/7620MB (lfb 4x1MB) SWAP 221/3810MB (cached 0MB) CPU [7%@1510,5%@1510,off,off,3%@729,"
    "4%@729] EMC_FREQ 1%@2133 GR3D_FREQ 42%@[611] cpu@49.5C soc2@48.1C soc0@47.9C gpu@48.9C tj@49.5C soc1@47.4C "
    "VDD_IN 5235mW/5189mW VDD_CPU_GPU_CV 1022mW/1001mW VDD_SOC 1502mW/1498mW"
)
XAVIER = (
    "RAM 2467/7771MB (lfb 3x4MB) SWAP 0/3885MB (cached 0MB) CPU [12%@1190,3%@1190,0%@1190,1%@1190,off,off] "
    "EMC_FREQ 0% GR3D_FREQ 98%@1109 APE 150 MTS fg 0% bg 2% AO@37.5C GPU@36.5C PMIC@50C AUX@36C CPU@38.5C "
    "thermal@36.95C VDD_IN 3321/3291 VDD_CPU_GPU_CV 449/443 VDD_SOC 940/937"
)
TX2 = (
    "RAM 1021/7859MB (lfb 1x4MB) CPU [0%@345,off,off,1%@345,2%@345,0%@345] GR3D_FREQ 0% PLL@35.5C MCPU@35.5C "
    "Tboard@31C Tdiode@-256C POM_5V_GPU 152/152 POM_5V_CPU 228/230 POM_5V_IN 2064/2071"
)


def test_tegrastats_is_read_on_all_boards() -> None:
    orin = parse(ORIN)
    assert orin.celsius == {"cpu": 49.5, "soc2": 48.1, "soc0": 47.9, "gpu": 48.9, "tj": 49.5, "soc1": 47.4}
    assert orin.watts == {"VDD_IN": 5.235, "VDD_CPU_GPU_CV": 1.022, "VDD_SOC": 1.502}
    assert (orin.gpu_share, orin.gpu_hertz, orin.cpu_hertz) == (0.42, 611e6, 1510e6)
    assert (orin.memory_bytes, orin.total_watts) == (4722 * 2**20, 5.235)
    xavier = parse(XAVIER)
    assert (xavier.gpu_share, xavier.gpu_hertz, xavier.total_watts) == (0.98, 1109e6, 3.321)
    assert xavier.celsius["gpu"] == 36.5
    tx2 = parse(TX2)
    assert (tx2.gpu_share, tx2.gpu_hertz, tx2.total_watts) == (0.0, None, 2.064)
    assert "tdiode" not in tx2.celsius
    assert parse("") == DeviceFigures({}, {})
    assert parse("").total_watts is None


def test_tegrastats_is_read_while_it_runs(tmp_path: Path) -> None:
    program = tmp_path / "tegrastats"
    program.write_text(f"#!/bin/sh\ntest \"$1 $2\" = '--interval 1000' || exit 1\necho '{ORIN}'\nexec sleep 100\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    now = [0.0]
    stats = Tegrastats(lambda: now[0], str(program))
    deadline = time.monotonic() + 20
    while stats.newest is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert stats.newest.total_watts == 5.235
    now[0] = 11.0  # what is old is not told
    assert stats.newest is None
    stats.close()


@pytest.mark.parametrize("is_abstract", [False, True])
def test_systemd_is_told_at_the_pace_that_it_asks_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_abstract: bool
) -> None:
    name = f"@reeltag-test-{os.getpid()}" if is_abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind("\0" + name[1:] if is_abstract else name)
        systemd.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", name)
        monkeypatch.setenv("WATCHDOG_USEC", "8000000")
        now = [100.0]
        watchdog = Watchdog(lambda: now[0])
        watchdog.ready()
        for seconds in (100.0, 100.5, 101.9, 102.0, 103.0):
            now[0] = seconds
            watchdog.beat(f"at {seconds}")
        watchdog.stopping()
        told: list[str] = []
        while not told or told[-1] != "STOPPING=1":
            told.append(systemd.recv(200).decode())
    assert told == ["READY=1", "WATCHDOG=1\nSTATUS=at 100.0", "WATCHDOG=1\nSTATUS=at 102.0", "STOPPING=1"]


def test_a_source_that_hangs_is_left_to_systemd(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model_repository: Path
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        monkeypatch.setenv("WATCHDOG_USEC", "1")
        cameras = named([parse_address("pattern:64x64@5")], CameraOptions("", parse_address("pattern:")))
        watch = Watch(WatchOptions(cameras, model_repository), lambda _: None)
        watch.watched[0].camera.beat -= 100
        watch._beat()
        with pytest.raises(BlockingIOError):
            systemd.recv(200)
        watch.watched[0].camera.beat += 50
        watch._beat()
        assert systemd.recv(200).startswith(b"WATCHDOG=1")
        watch.close()


def test_without_systemd_nothing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    watchdog = Watchdog(time.monotonic)
    watchdog.ready()
    watchdog.beat("fine")
    watchdog.stopping()


def test_prometheus_reads_what_happened() -> None:
    clocks = Clocks()
    watched = watched_pattern("gate", threading.Condition(), 100, 20, clocks)
    Loop([watched], SlowNetwork(1, 0.02), Suppression("python", 0.3), lambda _: None, clocks).run()
    assert watched.camera.stop()
    port = free_port()
    close = serve_metrics(EdgeMetrics([watched], lambda: parse(ORIN)), port)
    try:
        with pytest.raises(PortInUse, match="choose one by --metrics-port"):
            serve_metrics(EdgeMetrics([watched], lambda: None), port)
        lines = set(httpx.get(f"http://127.0.0.1:{port}/metrics").text.splitlines())
    finally:
        close()
    slot = watched.camera.slot
    assert f'reeltag_edge_frames_captured_total{{camera="gate"}} {slot.captured:.1f}' in lines
    assert f'reeltag_edge_frames_dropped_total{{camera="gate"}} {slot.dropped:.1f}' in lines
    assert f'reeltag_edge_latency_seconds_count{{camera="gate"}} {slot.taken:.1f}' in lines
    for stage in ("capture", "pre", "network", "nms", "track", "publish"):
        name = f'reeltag_edge_stage_seconds_bucket{{camera="gate",le="+Inf",stage="{stage}"}}'
        assert f"{name} {slot.taken:.1f}" in lines
    assert 'reeltag_edge_stage_seconds_bucket{camera="gate",le="0.01",stage="network"} 0.0' in lines
    assert f'reeltag_edge_frames_fitted_total{{camera="gate",where="host"}} {slot.taken:.1f}' in lines
    assert 'reeltag_edge_frames_fitted_total{camera="gate",where="network"} 0.0' in lines
    assert 'reeltag_edge_camera_state{camera="gate",state="ended"} 1.0' in lines
    assert 'reeltag_edge_power_watts{rail="VDD_IN"} 5.235' in lines
    assert 'reeltag_edge_temperature_celsius{zone="tj"} 49.5' in lines


def test_prometheus_reads_what_became_of_the_events(tmp_path: Path) -> None:
    told = publisher(tmp_path, "  file: {path: events.jsonl}\n")
    told.lost_in_memory = 4
    registry = CollectorRegistry()
    registry.register(EdgeMetrics([], lambda: None, told.state))
    lines = generate_latest(registry).decode().splitlines()
    told.close()
    assert 'reeltag_edge_events_waiting{receiver="file"} 0.0' in lines
    assert 'reeltag_edge_events_refused_total{receiver="file"} 0.0' in lines
    assert 'reeltag_edge_events_lost_total{reason="memory"} 4.0' in lines

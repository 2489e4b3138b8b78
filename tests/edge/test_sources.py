"""Sources: addresses, GStreamer with stand-ins for what is not here, files, and a real RTSP server."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge.capture.addresses import Address, parse
from edge.capture.camera import Camera, NewestFrame
from edge.capture.clocks import Clocks
from edge.capture.colours import Colours, FromNv12
from edge.capture.frame import Frame
from edge.capture.gstreamer import GStreamerSource, _colours_of, _without
from edge.capture.opening import source_of
from edge.capture.pipelines import pipeline_of
from edge.capture.plain import OpenCvFile
from edge.capture.source import Source, SourceLost
from reeltag.errors import SetupError, SourceRefused
from tests.edge.conftest import PACKAGES, ROOT


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("csi:0,1920x1080@30", Address("csi", "0", 1920, 1080, 30.0)),
        ("csi:1", Address("csi", "1")),
        ("usb:/dev/video2,640x480", Address("usb", "/dev/video2", 640, 480)),
        ("/dev/video0", Address("usb", "/dev/video0")),
        ("pattern:640x480@12.5", Address("pattern", "", 640, 480, 12.5)),
        ("rtsp://a:b@host:554/x,1x1", Address("rtsp", "rtsp://a:b@host:554/x,1x1")),
        ("videos/street.mp4", Address("file", "videos/street.mp4")),
        ("csi:stand-in", Address("csi", "stand-in")),
    ],
)
def test_addresses(text: str, address: Address) -> None:
    assert parse(text) == address


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("csi:front", "sensors have numbers"),
        ("http://host/stream", "http:// is not looked at"),
        ("usb:camera", "devices are files, as in usb:/dev/video0"),
        ("usb:/dev/video0,640x480@0", "right is a rate above 0"),
        ("rtsp://", "no host"),
        ("csi:0,1x1@30", "16 to 16384"),
        ("pattern:ball", "has a size and a rate"),
    ],
)
def test_what_is_no_address_is_refused_by_name(text: str, said: str) -> None:
    with pytest.raises(SourceRefused, match=said):
        parse(text)


def test_a_password_is_in_no_name() -> None:
    assert parse("rtsp://user:secret@camera:8554/gate?x=1").name == "rtsp://camera:8554/gate?x=1"


def test_a_jetsons_camera_is_asked_for_nv12_in_its_own_memory() -> None:
    text, properties = pipeline_of(parse("csi:1,1920x1080@60"), latency_ms=100, is_paced=True)
    assert text.startswith(
        "nvarguscamerasrc name=in ! video/x-raw(memory:NVMM),format=NV12,width=1920,height=1080,framerate=60000/1000"
    )
    assert properties == [("sensor-id", 1)]
    assert "drop=false" in text


def test_elements_that_are_missing_are_told_with_their_package(gst: Any) -> None:
    assert "gstreamer1.0-plugins-good" in _without('no element "rtspsrc"')
    if gst.ElementFactory.find("nvarguscamerasrc") is None:
        with pytest.raises(SetupError, match="no nvarguscamerasrc here, which is in: JetPack's"):
            GStreamerSource(parse("csi:0")).open()


def test_a_camera_that_is_away_says_why(gst: Any) -> None:
    source = source_of(parse("rtsp://127.0.0.1:9/street"), timeout=5)
    source.open()
    with pytest.raises(SourceLost, match=r"gives no frames: Could not open resource .* \(Failed to connect"):
        source.read(Frame())
    source.close()


def test_colorimetry_is_read_as_gstreamer_writes_it() -> None:
    assert _colours_of("bt709", 240) == Colours("bt709")
    assert _colours_of("bt601", 1080) == Colours("bt601")
    assert _colours_of("1:4:0:0", 1080) == Colours("bt601", is_full_range=True)
    assert _colours_of("2:3:5:1", 240) == Colours("bt709")
    assert _colours_of("", 480).matrix == "bt601"
    assert _colours_of("", 1080).matrix == "bt709"


@pytest.mark.parametrize("text", ["csi:stand-in,322x182@50", "usb:stand-in,320x240@50"])
def test_stand_ins_come_at_their_rate_with_the_time_of_their_sensor(gst: Any, text: str) -> None:
    source, frame, times = source_of(parse(text)), Frame(), []
    source.open()
    try:
        for _ in range(12):
            captured = source.read(frame)
            assert captured is not None
            assert 0 <= time.monotonic() - captured < 10
            times.append(captured)
    finally:
        source.close()
        source.close()
    # By the camera's clock, not by when they were read: exact, however busy the machine is.
    np.testing.assert_allclose(np.diff(times), 0.02, atol=1e-3)
    assert frame.luma.shape == (frame.height, frame.width)
    assert frame.luma.max() > 200
    assert np.mean(frame.chroma) == 128  # a white ball on black


def test_a_file_is_the_same_with_and_without_gstreamer(gst: Any, shared: Path) -> None:
    address = parse(str(shared / "media/vtest.avi"))
    ways: list[Source] = [GStreamerSource(address, is_paced=False), OpenCvFile(address, is_paced=False)]
    pictures, times = [], []
    for source in ways:
        frame = Frame()
        source.open()
        read = [source.read(frame) for _ in range(3)]
        assert None not in read
        times.append(np.diff([each for each in read if each is not None]))
        if frame.colours is None:
            pictures.append(frame.rgb.astype(int))
        else:
            rgb = np.zeros((frame.height, frame.width, 3), np.uint8)
            FromNv12(frame.height, frame.width, frame.colours)(frame.luma, frame.chroma, rgb)
            pictures.append(rgb.astype(int))
        source.close()
    assert np.abs(pictures[0] - pictures[1]).mean() < 3  # chroma is brought to full size by other filters
    np.testing.assert_allclose(times[0], times[1], atol=1e-3)


@pytest.mark.parametrize("way", [GStreamerSource, OpenCvFile])
def test_no_frame_of_a_file_comes_before_it_was_captured(gst: Any, shared: Path, way: Callable[..., Source]) -> None:
    """Its age, and with it no stage of its latency, is ever below zero."""
    source, frame, ages, times = way(parse(str(shared / "media/vtest.avi"))), Frame(), [], []
    source.open()
    try:
        for _ in range(8):
            captured = source.read(frame)
            assert captured is not None
            ages.append(time.monotonic() - captured)
            times.append(captured)
    finally:
        source.close()
    assert min(ages) >= 0, ages
    np.testing.assert_allclose(np.diff(times), 0.1, atol=1e-3)


@pytest.mark.parametrize("way", [GStreamerSource, OpenCvFile])
def test_files_that_are_none_are_refused(gst: Any, tmp_path: Path, way: Callable[..., Source]) -> None:
    text = tmp_path / "notes.mp4"
    text.write_text("not a video\n" * 100)
    for path, said in ((tmp_path / "none.mp4", "is no file"), (text, "is no video")):
        source = way(parse(str(path)), is_paced=False)
        try:
            with pytest.raises((SourceRefused, SetupError), match=said):
                read_once(source)
        finally:
            source.close()


def read_once(source: Source) -> float | None:
    source.open()
    return source.read(Frame())


def test_without_gstreamer_its_packages_are_named_and_files_are_read(shared: Path) -> None:
    program = (
        "import sys; sys.modules['gi'] = None\n"
        "from edge.capture.addresses import parse\nfrom edge.capture.opening import source_of\n"
        "from reeltag.errors import SetupError\n"
        f"print(type(source_of(parse({str(shared / 'media/vtest.avi')!r}))).__name__)\n"
        "try: source_of(parse('csi:0'))\nexcept SetupError as error: print(error)"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=True)
    assert run.stdout.startswith("OpenCvFile")
    assert "apt-get install python3-gi gir1.2-gstreamer-1.0" in run.stdout


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


Serve = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def serve(gst: Any) -> Iterator[Serve]:
    started: list[subprocess.Popen[str]] = []

    def start(port: int, *password: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "tests.edge.rtsp_server", str(port), *password]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)
        started.append(server)
        assert server.stdout is not None
        assert server.stderr is not None
        if server.stdout.readline().strip() != "ready":
            pytest.skip(f"no RTSP server ({PACKAGES}): {server.stderr.read()[-200:]}")
        return server

    yield start
    for server in started:
        server.kill()
        server.communicate()


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_rtsp_comes_by_tcp_and_udp(serve: Serve, transport: str) -> None:
    port = free_port()
    serve(port)
    source, frame = source_of(parse(f"rtsp://127.0.0.1:{port}/street", transport=transport)), Frame()
    source.open()
    try:
        assert all(source.read(frame) is not None for _ in range(4))
    finally:
        source.close()
    assert (frame.height, frame.width) == (240, 320)
    assert frame.colours == Colours("bt601", is_full_range=True)  # JPEG


def test_rtsp_with_a_wrong_password_is_refused_and_with_the_right_one_it_comes(serve: Serve) -> None:
    port = free_port()
    serve(port, "right")
    for password in ("wrong", "right"):
        source = source_of(parse(f"rtsp://watch:{password}@127.0.0.1:{port}/street"))
        try:
            if password == "wrong":
                with pytest.raises(SourceRefused, match="refuses the user or the password") as refused:
                    read_once(source)
                assert "wrong" not in str(refused.value)
            else:
                assert read_once(source) is not None
        finally:
            source.close()


def test_rtsp_comes_back_after_its_server_was_killed(serve: Serve) -> None:
    port = free_port()
    server = serve(port)
    address, slot = parse(f"rtsp://127.0.0.1:{port}/street"), NewestFrame()
    camera = Camera("street", address, source_of(address, timeout=20), slot, Clocks())
    camera.start()
    try:
        _wait(lambda: slot.captured > 2)
        server.kill()
        _wait(lambda: camera.state == "lost")
        before = slot.captured
        serve(port)
        _wait(lambda: camera.state == "delivering" and slot.captured > before + 2)
    finally:
        assert camera.stop()
    assert camera.changes[-4:] == ["delivering", "lost", "delivering", "ended"]
    assert camera.counts["reconnects"] > 0


def _wait(until: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 40
    while not until():
        assert time.monotonic() < deadline
        time.sleep(0.02)

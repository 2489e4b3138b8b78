"""Frames out of GStreamer, copied straight into memory that is used again."""

from __future__ import annotations

import ctypes
import functools
import importlib
import re
import sys
import time
import warnings
from pathlib import Path
from typing import Any

from reeltag.errors import SetupError, SourceRefused

from edge.capture.addresses import Address
from edge.capture.colours import Colours, guessed
from edge.capture.frame import Frame
from edge.capture.pipelines import BINDINGS, PACKAGES, pipeline_of
from edge.capture.source import SourceLost

_SYSTEM_PACKAGES = "/usr/lib/python3/dist-packages"
"""Where Debian and Ubuntu have `gi`, which a virtual environment does not see."""
_LOOK_SECONDS = 0.2
_MAX_AGE_SECONDS = 10.0
"""A capture time that is older, or ahead of now, is not one: drivers and servers make up stranger ones."""


@functools.lru_cache(maxsize=None)
def load() -> Any:
    """The module `Gst`, initialised, with `GstApp` and `GstVideo` loaded.

    Raises:
        SetupError: GStreamer or its bindings are not installed; the text says which packages.
    """
    try:
        with warnings.catch_warnings():  # PyGObject before 3.44 imports in a way that Python warns of
            warnings.simplefilter("ignore", ImportWarning)
            return _loaded()
    except (ImportError, ValueError) as error:
        raise SetupError(
            f"cameras need GStreamer, and its Python bindings are not here ({error}); run: apt-get install {BINDINGS} "
            "gstreamer1.0-plugins-good gstreamer1.0-libav"
        ) from error


def _loaded() -> Any:
    gi = _gi()
    for name in ("Gst", "GstApp", "GstVideo"):
        gi.require_version(name, "1.0")
    gst: Any = importlib.import_module("gi.repository.Gst")
    for name in ("GstApp", "GstVideo"):  # they give methods to what Gst makes
        importlib.import_module(f"gi.repository.{name}")
    if not gst.is_initialized():
        gst.init(None)
    return gst


def _gi() -> Any:
    try:
        return importlib.import_module("gi")
    except ImportError:
        if not Path(_SYSTEM_PACKAGES, "gi").is_dir():
            raise
    sys.path.append(_SYSTEM_PACKAGES)  # for this import alone: nothing else is to come from there
    try:
        return importlib.import_module("gi")
    finally:
        sys.path.remove(_SYSTEM_PACKAGES)


class GStreamerSource:
    """A `Source` of any kind of address.

    Args:
        address: The source.
        is_paced: A file comes at its own pace.
        latency_ms: How long RTSP waits for late packets.
        timeout: Longest wait for a frame, seconds.
    """

    def __init__(
        self, address: Address, *, is_paced: bool = True, latency_ms: int = 100, timeout: float = 10.0
    ) -> None:
        self._address, self._timeout = address, timeout
        self._is_paced = is_paced and not address.is_live
        self._pipeline_of = pipeline_of(address, latency_ms=latency_ms, is_paced=is_paced)
        self._gst: Any = None
        self._pipeline: Any = None
        self._caps: Any = None
        self._info: Any = None
        self._colours = Colours()
        self._began: float | None = None

    def open(self) -> None:
        """As `Source.open`."""
        self._gst = gst = load()
        self._extract = _extract()
        if self._address.kind == "file" and not Path(self._address.location).is_file():
            raise SourceRefused(f"{self._address.location} is no file", "not_found")
        try:
            self._pipeline = gst.parse_launch(self._pipeline_of.text)
        except Exception as error:  # GLib.Error, a class that only exists with gi
            raise SetupError(_without(str(error))) from error
        head = self._pipeline.get_by_name("in")
        for name, value in self._pipeline_of.properties:
            head.set_property(name, value)
        self._sink = self._pipeline.get_by_name("out")
        # Its default clock may be a sound card's; this one is Python's monotonic clock.
        self._pipeline.use_clock(gst.SystemClock.obtain())
        self._began = None
        if self._pipeline.set_state(gst.State.PLAYING) == gst.StateChangeReturn.FAILURE:
            raise self._failure() or SourceLost(f"{self._address.name} cannot be opened")

    def read(self, frame: Frame) -> float | None:
        """As `Source.read`."""
        sample = self._pulled()
        if sample is None:
            return None
        caps, buffer = sample.get_caps(), sample.get_buffer()
        if self._caps is None or not caps.is_equal(self._caps):
            self._take_caps(caps)
        frame.shape_as(self._info.height, self._info.width, self._colours)
        # `hash` of a boxed object is its address; gst_buffer_extract copies without the interpreter's lock.
        copied = self._extract(hash(buffer), 0, frame.data.ctypes.data, len(frame.data))
        if copied != len(frame.data) or buffer.get_size() != copied:
            raise SourceLost(f"{self._address.name} gave a frame of {buffer.get_size()} bytes, not {len(frame.data)}")
        captured = self._captured(buffer.pts)
        if self._is_paced:  # a decoder is a few milliseconds early, and a camera never
            time.sleep(max(0.0, captured - time.monotonic()))
        return captured

    def close(self) -> None:
        """As `Source.close`."""
        if self._pipeline is not None:
            self._pipeline.set_state(self._gst.State.NULL)
            self._pipeline = None

    def _pulled(self) -> Any:
        """The next sample; none at the end of a file."""
        deadline = time.monotonic() + self._timeout
        while True:
            # In short waits: the sink does not say that the pipeline failed.
            sample = self._sink.try_pull_sample(int(_LOOK_SECONDS * self._gst.SECOND))
            if sample is not None:
                return sample
            failure = self._failure()
            if failure is not None:
                raise failure
            if self._sink.is_eos():
                if self._address.is_live:
                    raise SourceLost(f"{self._address.name} ended")
                return None
            if time.monotonic() > deadline:
                raise SourceLost(f"{self._address.name} gave no frame for {self._timeout:g} s")

    def _take_caps(self, caps: Any) -> None:
        video = importlib.import_module("gi.repository.GstVideo")
        made = video.VideoInfo.new_from_caps(caps) if hasattr(video.VideoInfo, "new_from_caps") else None
        if made is None:  # GStreamer 1.16 to 1.18, JetPack 5
            made = video.VideoInfo()
            made.from_caps(caps)
        self._caps, self._info = caps, made
        self._colours = _colours_of(caps.get_structure(0).get_string("colorimetry") or "", made.height)

    def _captured(self, pts: int) -> float:
        """A file's frames lie as far apart as they were recorded; a camera's are as old as its driver says."""
        now = time.monotonic()
        if pts == self._gst.CLOCK_TIME_NONE:
            return now
        seconds = pts / float(self._gst.SECOND)
        if not self._address.is_live:
            if self._began is None:
                self._began = now - seconds
            return self._began + seconds
        captured = float(self._pipeline.get_base_time()) / float(self._gst.SECOND) + seconds
        return captured if 0 <= now - captured < _MAX_AGE_SECONDS else now

    def _failure(self) -> Exception | None:
        """What the pipeline says went wrong."""
        message = self._pipeline.get_bus().pop_filtered(self._gst.MessageType.ERROR)
        if message is None:
            return None
        error, detail = message.parse_error()
        resource, name, text = self._gst.ResourceError, self._address.name, str(error.message).rstrip(".")
        said = f"{text} {detail}"
        # Below the place in GStreamer's code there may be the reason, such as `Service Unavailable (503)`.
        reason = str(detail or "").partition("\n")[2].strip()
        if error.matches(resource.quark(), resource.NOT_AUTHORIZED) or "401" in said or "Unauthorized" in said:
            return SourceRefused(f"{name} refuses the user or the password", "no_permission")
        if _is_missing(self._gst, error):
            return SetupError(
                f"{name}: {text}; decoders are in gstreamer1.0-libav and gstreamer1.0-plugins-bad: apt-get install "
                "gstreamer1.0-libav gstreamer1.0-plugins-bad"
            )
        if self._address.kind == "file":
            return SourceRefused(f"{name} is no video that can be read: {text}")
        return SourceLost(f"{name} gives no frames: {text}{f' ({reason})' if reason else ''}")


def _colours_of(colorimetry: str, height: int) -> Colours:
    """Of GStreamer's `bt601`, `bt709`, `sRGB`, or `RANGE:MATRIX:TRANSFER:PRIMARIES` by number."""
    if colorimetry in ("bt601", "smpte240m", "bt2020", "bt709"):
        return Colours("bt709" if colorimetry != "bt601" else "bt601")
    numbers = re.fullmatch(r"(\d+):(\d+):\d+:\d+", colorimetry)
    if numbers is None:
        return guessed(height)
    # Ranges: 1 is 0 to 255, 2 is 16 to 235; matrices: 3 is BT.709, 4 is BT.601 (gstvideo-color.h).
    matrix = {"3": "bt709", "4": "bt601"}.get(numbers[2], guessed(height).matrix)
    return Colours(matrix, numbers[1] == "1")


def _extract() -> Any:
    function = ctypes.CDLL("libgstreamer-1.0.so.0").gst_buffer_extract
    function.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p, ctypes.c_size_t]
    function.restype = ctypes.c_size_t
    return function


def _is_missing(gst: Any, error: Any) -> bool:
    core, stream = gst.CoreError, gst.StreamError
    return bool(
        error.matches(core.quark(), core.MISSING_PLUGIN) or error.matches(stream.quark(), stream.CODEC_NOT_FOUND)
    )


def _without(text: str) -> str:
    """An error of gst_parse_launch, with the package that the element is in."""
    element = re.search(r'no element "([^"]+)"', text)
    if element is None:
        return f"GStreamer cannot build the pipeline: {text}"
    package = PACKAGES.get(element[1], "a plugin of GStreamer")
    if package.startswith("gst"):
        package = f"apt-get install {package}"
    return f"GStreamer has no {element[1]} here, which is in: {package}"

"""Opens containers, chooses the video stream in them, and says what can be relied on in each format."""

from __future__ import annotations

import re
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Final

import av
import av.logging
import numpy as np
from av.codec.hwaccel import HWAccel
from av.stream import Disposition

from reeltag.errors import NotOnGpu, VideoError
from vod.decoding.colour import Transfer, transfer_of

_NO_VIDEO_FORMATS: Final = frozenset({"tty", "bin", "xbin", "adf", "idf", "hls", "dash", "concat", "image2", "lrc"})
"""Demuxers that take text for video, or a playlist that would make FFmpeg open other files and addresses."""
_PLAYLISTS: Final = (b"#EXTM3U", b"ffconcat version")
"""How HLS playlists and those of FFmpeg's concat demuxer begin."""
_PICTURE_BRANDS: Final = frozenset({b"heic", b"heix", b"heim", b"heis", b"mif1", b"avif"})
"""Of HEIF: photographs whose tiles FFmpeg gives as video streams."""
_PICTURE_CODECS: Final = frozenset({"mjpeg", "png", "bmp", "webp", "tiff", "gif", "jpeg2000", "jpegls"})
"""Their streams are taken for covers where there is another stream."""
_SPLICED_FORMATS: Final = frozenset({"mpegts", "mpeg", "hls", "wtv"})
"""For broadcasting: their clocks may leap or start again, and their duration is a guess."""
_SEEKABLE_FORMATS: Final = frozenset({"mov", "mp4", "matroska", "webm"})
"""With an index of key frames that seeking goes by."""
_STATED_FORMATS: Final = _SEEKABLE_FORMATS | {"avi", "flv", "asf", "mxf", "3gp"}
"""Their headers state a duration; FFmpeg guesses it elsewhere, from the last packets or from the bit rate."""
_ALPHA_DECODERS: Final = {"vp8": "libvpx", "vp9": "libvpx-vp9"}
"""FFmpeg's own decoders of these leave the alpha channel out."""
_GPU_DECODERS: Final = {"libdav1d": "av1"}
"""FFmpeg's own decoders that NVDEC stands behind, of codecs for which it prefers another one on the CPU."""

_SYNC_BYTE: Final = 0x47
_TRANSPORT_PACKET_BYTES: Final = (188, 192, 204)
"""ISO/IEC 13818-1; with a time code before it (M2TS); with error correction behind it."""
_LONGEST_LOOK: Final = 1 << 20


class Source:
    """An open file and the stream in it that is decoded.

    Args:
        path: The file.
        keyframes_only: The decoder leaves out all other frames, which makes it much faster.
        device: The GPU that decodes, as PyTorch names it; `cpu` stands in for one in tests; the CPU without it.

    Raises:
        VideoError: It cannot be read, or holds no video; the text says what was found.
    """

    def __init__(self, path: Path, *, keyframes_only: bool = False, device: str | None = None) -> None:
        self.device = device
        accelerator = _accelerator(device)
        self.container = _open(path, accelerator)
        try:
            self.stream = _video_stream(self.container, path.name)
            self.context = _decoder(self.stream, accelerator)
        except BaseException:
            self.container.close()
            raise
        # Frame threads decode nearly twice as fast on two cores, but gain nothing where key frames are decoded alone.
        self.context.thread_type = "SLICE" if keyframes_only or device else "AUTO"
        if device:
            self.context.thread_count = 1
        self.context.skip_frame = "NONKEY" if keyframes_only else "DEFAULT"
        self.context.copy_opaque = True
        self._path = path
        self._formats = frozenset(self.container.format.name.split(","))

    def close(self) -> None:
        """Close the file."""
        self.container.close()

    def packets(self) -> Iterator[av.Packet[av.VideoStream]]:
        """Packets in the file's order; those of other streams are among them where `fills_file`."""
        if self.fills_file:
            yield from self.container.demux()  # type: ignore[misc]
        else:
            yield from self.container.demux(self.stream)

    def decode(self, packet: av.Packet[av.VideoStream]) -> list[av.VideoFrame]:
        """The frames that the decoder gives after this packet; an empty one makes it give all that it has."""
        frames = self.context.decode(packet)
        return [self._on_device(frame) for frame in frames] if self.device else frames

    def damaged(self, reason: str) -> None:
        """Some of the data is damaged.

        Raises:
            NotOnGpu: A GPU decodes: it does not say which of its frames suffer.
        """
        if self.device:
            raise NotOnGpu(f"its data are damaged ({reason})")

    def _on_device(self, frame: av.VideoFrame) -> av.VideoFrame:
        """The frame, if it is one that is scaled where it lies."""
        if self.device == "cpu":
            decoded, frame = frame, frame.reformat(format="nv12")
            frame.opaque, frame.time_base = decoded.opaque, decoded.time_base
        elif frame.format.name != "cuda":
            raise NotOnGpu(f"NVDEC does not decode {self.context.name} of {frame.format.name}")
        if frame.interlaced_frame:
            raise NotOnGpu("it is interlaced")
        if transfer_of(frame) is not Transfer.SDR:
            raise NotOnGpu("it is of high dynamic range")
        if frame.width % 2 or frame.height % 2:
            raise NotOnGpu(f"its frames are of {frame.height}x{frame.width} pixels, rows x columns, which are not even")
        return frame

    @property
    def frame_rate(self) -> float:
        """Mean frames a second; 0 when unknown."""
        rate, guessed = self.stream.average_rate, self.stream.guessed_rate
        if not rate or (guessed and rate > 4 * guessed):  # FFmpeg says 60,000 of raw DV
            rate = guessed
        return float(rate) if rate else 0.0

    @property
    def frame_seconds(self) -> float:
        """Mean time between frames; 1/25 when unknown."""
        return 1 / self.frame_rate if self.frame_rate else 1 / 25

    @property
    def may_leap(self) -> bool:
        """Whether timestamps that leap forward may be a splice."""
        return bool(self._formats & _SPLICED_FORMATS)

    @property
    def parses_packets(self) -> bool:
        """Whether a parser cuts the packets out of a stream of bytes."""
        return "mpegts" in self._formats

    @property
    def stamps_by_decoding(self) -> bool:
        """Whether packets are stamped in the order of decoding, so that frames need sorted stamps."""
        return "avi" in self._formats

    @property
    def fills_file(self) -> bool:
        """Whether packets lie in the file one behind the other, so that a hole between them is lost data."""
        return bool(self._formats & {"matroska", "flv", "avi", "asf"})

    @property
    def hole_bytes(self) -> int:
        """From so many bytes on a hole is more than headers; ASF pads its packets, to 3,200 bytes as a rule."""
        return 4096 if "asf" in self._formats else 512

    @property
    def is_seekable(self) -> bool:
        """Whether a seek can be expected to reach a key frame at or before its time."""
        return bool(self._formats & _SEEKABLE_FORMATS)

    def loses_sync(self, start: int, end: int) -> bool:
        """Whether bytes from `start` to `end` of a transport stream are not all transport packets."""
        if not 0 <= start < end:
            return False
        with self._path.open("rb") as file:
            file.seek(start)
            data = np.frombuffer(file.read(min(end - start, _LONGEST_LOOK)), np.uint8)
        for size in _TRANSPORT_PACKET_BYTES:
            whole = data[: len(data) // size * size].reshape(-1, size)
            if len(whole) and (whole == _SYNC_BYTE).all(axis=0).any():
                return False
        return len(data) >= 2 * max(_TRANSPORT_PACKET_BYTES)

    def stated_end(self, origin: float) -> float | None:
        """Where the file says that the stream ends, seconds from the stamp `origin`; None where it says nothing."""
        stream, container = self.stream, self.container
        if not self._formats & _STATED_FORMATS:
            return None
        if "avi" in self._formats:
            # FFmpeg shortens the duration of a cut-off AVI, not its frame count.
            return stream.frames / self.frame_rate if stream.frames and self.frame_rate else None
        if stream.duration and stream.time_base:
            start = float(stream.start_time * stream.time_base) if stream.start_time is not None else origin
            return float(stream.duration * stream.time_base) - max(0.0, origin - start)
        if len(container.streams) == 1 and container.duration:
            return container.duration / av.time_base
        return None

    @property
    def guessed_seconds(self) -> float | None:
        """FFmpeg's guess of the duration, good enough for a bar of progress."""
        return self.container.duration / av.time_base if self.container.duration else None

    def seek(self, seconds: float) -> None:
        """Go to the key frame at or before a stamp."""
        time_base = self.stream.time_base or Fraction(1, av.time_base)
        self.container.seek(round(seconds / float(time_base)), stream=self.stream)
        self.context.flush_buffers()


def _accelerator(device: str | None) -> HWAccel | None:
    if device is None or device == "cpu":
        return None
    # Frames stay on the GPU, in this thread's context, which is PyTorch's: FFmpeg refuses a primary context with other
    # flags than its own, and memory of another context could not be read.
    contexts: dict[str, object] = {"primary_ctx": "0", "current_ctx": "1"}
    number = device.rpartition(":")[2]
    return HWAccel("cuda", number, allow_software_fallback=True, options=contexts, is_hw_owned=True)


def _open(path: Path, accelerator: HWAccel | None = None) -> av.container.InputContainer:
    try:
        if path.stat().st_size == 0:
            raise VideoError(f"{path.name} is empty (0 bytes)")
        _refuse_others(path)
        options = {"protocol_whitelist": "file"}
        container = av.open(f"file:{path}", options=options, metadata_errors="replace", hwaccel=accelerator)
    except OSError as error:  # FFmpeg's errors are OSErrors too
        if isinstance(error, av.FFmpegError) and isinstance(error, ValueError):
            raise VideoError(f"{path.name} is no video that can be read: {_found(path)}") from error
        raise VideoError(f"{path.name} cannot be read: {error.strerror}") from error
    except av.FFmpegError as error:
        raise VideoError(f"{path.name} is no video that can be read: {_found(path)}") from error
    name = container.format.name
    if name.endswith("_pipe"):
        container.close()
        raise VideoError(f"{path.name} is a picture ({name.removesuffix('_pipe')}), not a video")
    if set(name.split(",")) & _NO_VIDEO_FORMATS:
        container.close()
        raise VideoError(f"{path.name} is no video: {_found(path)}")
    return container


def _refuse_others(path: Path) -> None:
    """What FFmpeg would take for a video: photographs, and playlists, one of which may name itself for ever."""
    with path.open("rb") as file:
        head = file.read(1024)
    if head.lstrip(b"\xef\xbb\xbf \r\n").startswith(_PLAYLISTS) or b"<MPD" in head:
        raise VideoError(f"{path.name} is no video: it is a playlist; give the files that it names")
    if head[4:8] == b"ftyp" and head[8:12] in _PICTURE_BRANDS:
        raise VideoError(f"{path.name} is a picture (HEIF, brand {head[8:12].decode()}), not a video")


def _found(path: Path) -> str:
    """What a file that is no video holds instead, in words."""
    with path.open("rb") as file:
        head = file.read(4096)
    if head[4:8] == b"ftyp":
        return "an MP4 or MOV file without its index (moov box): it was cut off or never finished"
    try:
        text = head[:-4].decode() if len(head) == 4096 else head.decode()
    except UnicodeDecodeError:
        return "its bytes are of no video format that FFmpeg knows"
    return "it holds text" if text.isprintable() or "\n" in text else "its bytes are of no known video format"


def _video_stream(container: av.container.InputContainer, name: str) -> av.VideoStream:
    """The stream that a player would show: no cover, then the default one, then the largest, then the first."""
    found = [stream for stream in container.streams.video if not stream.disposition & Disposition.attached_pic]
    shown = [stream for stream in found if not _is_still(stream)] or found
    known = [stream for stream in shown if _has_decoder(stream)]
    if known:
        return max(known, key=_rank)
    if shown:
        raise VideoError(f"{name} holds a video stream, but its codec is not known to FFmpeg{_tag_of(container)}")
    others = ", ".join(f"{stream.type} ({_codec_of(stream)})" for stream in container.streams) or "nothing"
    raise VideoError(f"{name} holds no video stream, only: {others}")


def _tag_of(container: av.container.InputContainer) -> str:
    """Such as `: zzzz`, the code that a codec unknown to FFmpeg has in the file; PyAV has it in FFmpeg's log alone."""
    level = av.logging.get_level()
    av.logging.set_level(av.logging.WARNING)
    try:
        with av.logging.Capture() as logged:
            av.open(container.name).close()
    finally:
        av.logging.set_level(level)
    found = re.search(r"Video: none \((.+?) / 0x", " ".join(text for _, _, text in logged))
    return f": {found[1]}" if found else ""


def _rank(stream: av.VideoStream) -> tuple[bool, int, int]:
    is_default = bool(stream.disposition & Disposition.default)
    return is_default, stream.codec_context.width * stream.codec_context.height, -stream.index


def _is_still(stream: av.VideoStream) -> bool:
    """A cover that nobody marked as one: a single picture, or a codec of pictures, beside a stream of another kind."""
    marks = Disposition.timed_thumbnails | Disposition.still_image | Disposition.dependent
    if stream.frames == 1 or stream.disposition & marks:
        return True
    return _codec_of(stream) in _PICTURE_CODECS


def _has_decoder(stream: av.stream.Stream) -> bool:
    context = stream.codec_context
    return context is not None and bool(context.codec)


def _codec_of(stream: av.stream.Stream) -> str:
    if _has_decoder(stream):
        return str(stream.codec_context.name)
    return "unknown"


def _decoder(stream: av.VideoStream, accelerator: HWAccel | None) -> av.VideoCodecContext:
    """The stream's decoder, or the one that knows its alpha channel, or the one that NVDEC stands behind."""
    name = _ALPHA_DECODERS.get(stream.codec_context.name)
    if name is None or stream.metadata.get("alpha_mode", stream.metadata.get("ALPHA_MODE")) != "1":
        name = _GPU_DECODERS.get(stream.codec_context.name) if accelerator else None
        if name is None:
            return stream.codec_context
    context = av.CodecContext.create(name, "r", accelerator)
    assert isinstance(context, av.VideoCodecContext)
    context.extradata = stream.codec_context.extradata
    return context

"""Opens containers and chooses the video stream in them."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import av

from reeltag.errors import VideoError

_NO_VIDEO_FORMATS: Final = frozenset({"tty", "bin", "xbin", "adf", "idf", "hls", "dash", "concat", "image2", "lrc"})
"""Demuxers that take text for video, or a playlist that would make FFmpeg open other files and addresses."""


def open_container(path: Path) -> av.container.InputContainer:
    """Open a file as video.

    Raises:
        VideoError: It cannot be read, or is no video; the text says what was found.
    """
    try:
        size = path.stat().st_size
        if size == 0:
            raise VideoError(f"{path.name} is empty (0 bytes)")
        container = av.open(f"file:{path}", options={"protocol_whitelist": "file"}, metadata_errors="replace")
    except OSError as error:  # FFmpeg's errors are OSErrors too
        if isinstance(error, av.FFmpegError) and isinstance(error, ValueError):
            raise VideoError(f"{path.name} is no video that can be read: {_found(path)}") from error
        raise VideoError(f"{path.name} cannot be read: {error.strerror}") from error
    except av.FFmpegError as error:
        raise VideoError(f"{path.name} is no video that can be read: {_found(path)}") from error
    if set(container.format.name.split(",")) & _NO_VIDEO_FORMATS:
        container.close()
        raise VideoError(f"{path.name} is no video: {_found(path)}")
    return container


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


def video_stream(container: av.container.InputContainer, name: str) -> av.VideoStream:
    """The stream to decode.

    Raises:
        VideoError: There is none; the container is closed then.
    """
    for stream in container.streams.video:
        if not stream.disposition & av.stream.Disposition.attached_pic:
            return stream
    found = ", ".join(f"{s.type} ({s.codec_context.name})" for s in container.streams if s.codec_context) or "nothing"
    container.close()
    raise VideoError(f"{name} holds no video stream, only: {found}")

"""Decodes one video: sound frames in order of presentation, each with its time. It runs in the child process."""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import av

from reeltag.errors import VideoError
from reeltag.frames import View
from vod.decoding.blocks import Probe
from vod.decoding.containers import open_container, video_stream
from vod.decoding.scaling import Scaler
from vod.decoding.timeline import Timeline

_MAX_READ_ERRORS: Final = 100
"""Unreadable places in a row after which the rest of a file is given up."""
_SAME_FRAME_SECONDS: Final = 1e-3


class Picture(NamedTuple):
    """One decoded frame."""

    time: float
    """Presentation time, seconds from the first frame."""
    frame: av.VideoFrame


class Video:
    """An open video file.

    Args:
        path: The file.
        keyframes_only: Leave out all frames that are no key frames, which makes decoding much faster.

    Raises:
        VideoError: It cannot be read, or holds no video; the text says what was found.
    """

    def __init__(self, path: Path, *, keyframes_only: bool = False) -> None:
        self._name = path.name
        self._container = open_container(path)
        self._stream = video_stream(self._container, path.name)
        self._keyframes_only = keyframes_only
        # Frame threads decode nearly twice as fast on two cores, but gain nothing where key frames are decoded alone.
        self._stream.thread_type = "SLICE" if keyframes_only else "AUTO"
        self._stream.codec_context.skip_frame = "NONKEY" if keyframes_only else "DEFAULT"
        rate = self._stream.average_rate or self._stream.guessed_rate
        self._frame_rate = float(rate) if rate else 0.0
        self.timeline = Timeline(1 / self._frame_rate if self._frame_rate else 0.0)
        self.frames_decoded = 0
        self._key_times: list[float] = []
        self._lost_keys: list[float] = []
        self._packets_end = 0.0
        self._sound_frames = self._decoded()
        self._first = self._first_frame()
        self._quarter_turns = round(self._first.rotation / 90) % 4

    def close(self) -> None:
        """Close the file."""
        self._container.close()

    def probe(self) -> Probe:
        """What the file says of itself."""
        width, height = self.displayed_size
        return Probe(width, height, round(self._frame_rate, 3), self._stated_seconds())

    @property
    def displayed_size(self) -> tuple[int, int]:
        """Columns and rows as displayed: with square pixels, after rotation."""
        ratio = self._stream.sample_aspect_ratio or 1
        width, height = max(1, round(self._first.width * ratio)), self._first.height
        return (height, width) if self._quarter_turns % 2 else (width, height)

    def frames(self) -> Iterator[Picture]:
        """Decode from the start, once."""
        for frame in itertools.chain([self._first], self._sound_frames):
            time = self.timeline.place(_seconds(frame.pts, frame), _seconds(frame.duration, frame))
            if time is None:
                continue
            if frame.key_frame:
                self._key_times.append(time)
            self.frames_decoded += 1
            yield Picture(time, frame)
        if self._keyframes_only and self.timeline.is_continuous:
            self.timeline.end_seconds = max(self.timeline.end_seconds, self._packets_end - self.timeline.origin)

    def frames_at(self, times: Sequence[float]) -> Iterator[Picture]:
        """Decode the frames at given times after `frames` has run, seeking to the key frames before them.

        Args:
            times: Presentation times that `frames` gave, rising.
        """
        reached = -math.inf
        pictures: Iterator[Picture] = iter(())
        for wanted in times:
            if wanted <= reached:
                continue
            key = self._key_times[max(0, bisect.bisect_right(self._key_times, wanted + _SAME_FRAME_SECONDS) - 1)]
            if math.isinf(reached) or key > reached:
                pictures = self._from_key_frame(key)
            for picture in pictures:
                if picture.time >= wanted - _SAME_FRAME_SECONDS and picture.time > reached:
                    reached = picture.time
                    yield picture
                    break

    def close_timeline(self) -> float:
        """End the timeline after `frames` and return the video's duration in seconds."""
        for lost in sorted(self._lost_keys):
            after = bisect.bisect_right(self._key_times, lost)
            end = self._key_times[after] if after < len(self._key_times) else self.timeline.end_seconds
            self.timeline.add_gap(lost, end, "corrupt data: a key frame cannot be decoded")
        return self.timeline.close(self._stated_seconds())

    def scaler(self, view: View) -> Scaler:
        """What fits this video's frames into a view."""
        return Scaler(view, *self.displayed_size, self._quarter_turns)

    def _from_key_frame(self, key_time: float) -> Iterator[Picture]:
        timeline = self.timeline
        seconds = key_time + timeline.origin
        if timeline.is_continuous and self._stream.time_base:
            self._container.seek(round(seconds / float(self._stream.time_base)), stream=self._stream)
            # The second pass needs no gaps, only the first pass's clock.
            for frame in self._decoded(quiet=True):
                stamp = _seconds(frame.pts, frame)
                if stamp is not None:
                    yield Picture(stamp - timeline.origin, frame)
        else:
            self._container.seek(self._container.start_time or 0)
            again = Timeline(timeline.frame_seconds)
            for frame in self._decoded(quiet=True):
                time = again.place(_seconds(frame.pts, frame), None)
                if time is not None:
                    yield Picture(time, frame)

    def _decoded(self, *, quiet: bool = False) -> Iterator[av.VideoFrame]:
        """Sound frames of the stream from where it stands; damage goes to the timeline unless `quiet`."""
        for packet in self._packets(quiet=quiet):
            try:
                frames = packet.decode()
            except av.FFmpegError as error:
                if not quiet:
                    self._note_damage(packet, error.strerror)
                continue
            for frame in frames:
                if isinstance(frame, av.VideoFrame) and not frame.is_corrupt:
                    yield frame
                elif not quiet:
                    self._note_damage(packet, "a frame was decoded only in part")

    def _note_damage(self, packet: av.Packet[av.VideoStream], problem: str | None) -> None:
        if not self._keyframes_only:
            self.timeline.damage(f"corrupt data: {problem}")
        elif packet.is_keyframe and packet.pts is not None and packet.time_base:
            self._lost_keys.append(float(packet.pts * packet.time_base) - self.timeline.origin)

    def _packets(self, *, quiet: bool) -> Iterator[av.Packet[av.VideoStream]]:
        errors = 0
        while errors < _MAX_READ_ERRORS:
            try:
                for packet in self._container.demux(self._stream):
                    errors = 0
                    if packet.pts is not None and packet.time_base:
                        end = float((packet.pts + (packet.duration or 0)) * packet.time_base)
                        self._packets_end = max(self._packets_end, end)
                    yield packet
                return
            except av.FFmpegError as error:  # noqa: PERF203  reading goes on behind the damage
                errors += 1
                if not quiet:
                    self.timeline.damage(f"unreadable data: {error.strerror}")

    def _first_frame(self) -> av.VideoFrame:
        frame = next(self._sound_frames, None)
        if frame is None:
            codec = self._stream.codec_context.name
            raise VideoError(f"{self._name} holds a {codec} video stream, but no frame of it can be decoded")
        return frame

    def _stated_seconds(self) -> float | None:
        stream, container = self._stream, self._container
        if stream.duration and stream.time_base and container.format.name != "avi":
            return float(stream.duration * stream.time_base)
        if container.format.name == "avi" and stream.frames and self._frame_rate:
            return (
                stream.frames / self._frame_rate
            )  # FFmpeg shortens the duration of a cut-off AVI, not its frame count
        if len(container.streams) == 1 and container.duration:
            return container.duration / av.time_base
        return None


def _seconds(value: int | None, frame: av.VideoFrame) -> float | None:
    return None if value is None or frame.time_base is None else float(value * frame.time_base)

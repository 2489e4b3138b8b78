"""Decodes one video: sound frames in order of presentation, each with its time. It runs in the child process."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import av
import numpy as np

from reeltag.errors import NotAsPlanned, VideoError
from reeltag.frames import View
from vod.decoding.blocks import Probe
from vod.decoding.containers import Source
from vod.decoding.fields import deinterlaced
from vod.decoding.frameindex import FrameIndex
from vod.decoding.geometry import Shape
from vod.decoding.parts import Part
from vod.decoding.passes import Pass, SoundFrame
from vod.decoding.scaling import Scaler
from vod.decoding.timeline import Timeline

_NEAR_SECONDS: Final = 0.2
"""Pictures further apart, as key frames or those around a gap, say nothing of each other's fields."""


class Picture(NamedTuple):
    """One decoded frame."""

    time: float
    """Presentation time, seconds from the first frame."""
    frame: av.VideoFrame
    shape: Shape
    before: av.VideoFrame | None = None
    """The frame that is shown before it."""
    after: av.VideoFrame | None = None

    def whole(self) -> av.VideoFrame:
        """The frame without the combs of interlacing."""
        return deinterlaced(self.frame, self.before, self.after)


class Video:
    """An open video file.

    Args:
        path: The file.
        keyframes_only: Leave out all frames that are no key frames, which makes decoding much faster.
        beat: Called again and again while decoding goes on.
        device: The GPU that decodes, as PyTorch names it; the CPU without it.

    Raises:
        VideoError: It cannot be read, or holds no video; the text says what was found.
        NotOnGpu: The GPU does not decode it; also raised later, where that shows later.
    """

    def __init__(
        self,
        path: Path,
        *,
        keyframes_only: bool = False,
        beat: Callable[[], None] = lambda: None,
        device: str | None = None,
    ) -> None:
        self._beat = beat
        self._path = path
        self._keyframes_only = keyframes_only
        self._device = device
        if device is not None:
            from vod.decoding.cuda import make_current  # noqa: PLC0415  PyTorch takes seconds, and may not be there

            make_current(device)
        self._source = Source(path, keyframes_only=keyframes_only, device=device)
        self.timeline = self._new_timeline()
        self.frames_decoded = 0
        self._pass = Pass(self._source, keyframes_only=keyframes_only, beat=beat)
        self._sound_frames = self._pass.frames()
        self._first = self._first_frame()

    def close(self) -> None:
        """Close the file."""
        self._source.close()

    def probe(self) -> Probe:
        """What the file says of itself."""
        width, height = self.displayed_size
        stated = self._source.stated_end(self._first.stamp or 0.0)
        seconds = self._source.guessed_seconds if stated is None else stated
        return Probe(width, height, round(self._source.frame_rate, 3), seconds)

    @property
    def displayed_size(self) -> tuple[int, int]:
        """Columns and rows as displayed: with square pixels, after rotation; of the first frame."""
        return self._first.shape.displayed

    def frames(self) -> Iterator[Picture]:
        """Decode from the start, once."""
        sound_frames = itertools.chain([self._first], self._sound_frames)
        for picture in _with_neighbours(self._placed(sound_frames, self.timeline)):
            self.frames_decoded += 1
            yield picture
        if self.timeline.is_continuous:
            self._reach_end_of_packets(self.timeline.origin)

    def part(self, part: Part) -> Iterator[Picture]:
        """Decode the frames of a part, and those around it that it needs; once, instead of `frames`.

        Raises:
            NotAsPlanned: They are not those that the part names.
        """
        return _with_neighbours(self._part(part))

    def frames_at(self, times: Sequence[float], index: FrameIndex | None = None) -> Iterator[Picture]:
        """Decode the frames at given times, whatever was decoded before.

        With an index seeking goes to the key frame before a time; where it lands elsewhere, and without an index,
        everything is decoded from the start. A frame of damaged data that the decoder's threads do not give again is
        left out.

        Args:
            times: Presentation times that `frames` or `part` gave, rising.
            index: Of all frames, where the packets can be trusted.

        Raises:
            VideoError: The file cannot be opened again.
        """
        found = 0
        if index is not None:
            for picture in _with_neighbours(self._sought(times, index)):
                if found < len(times) and picture.time == times[found]:
                    found += 1
                    yield picture
        if found < len(times):
            yield from self._forward(times[found:])

    def close_timeline(self) -> float:
        """End the timeline after `frames` and return the video's duration in seconds."""
        if not self.timeline.is_continuous:
            return self.timeline.close(None)
        stated = self._source.stated_end(self._first.stamp or 0.0)
        packets_end = self._pass.end_stamp - self.timeline.origin
        if not self._pass.damage or (stated or 0.0) - packets_end > self.timeline.frame_seconds:
            return self.timeline.close(stated)
        return self.timeline.close(packets_end, self._pass.damage)

    def scaler(self, view: View) -> Scaler:
        """What fits this video's frames into a view."""
        if self._device is None:
            return Scaler(view, self.displayed_size)
        from vod.decoding.cuda import DeviceScaler  # noqa: PLC0415  PyTorch takes seconds, and may not be there

        return DeviceScaler(view, self.displayed_size, self._device)

    def _new_timeline(self) -> Timeline:
        rate = self._source.frame_rate
        return Timeline(1 / rate if rate else 0.0, may_leap=self._source.may_leap)

    def _part(self, part: Part) -> Iterator[Picture]:
        other = NotAsPlanned(f"{self._path.name}: its frames are not those that its packets told")
        origin, due = self._first.stamp or 0.0, 0
        for sound in self._frames_from(part, origin):
            time = _time_of(sound, origin)
            if due == 0 and time is not None and time < part.times[0]:
                continue
            if time is None or due == len(part.times) or time != part.times[due] or sound.damage:
                raise other
            due += 1
            self.timeline.end_seconds = round(time + (sound.seconds or self.timeline.frame_seconds), 6)
            yield Picture(time, sound.frame, sound.shape)
            if due == len(part.times) and not part.is_last:
                return
        if due < len(part.times) or self._pass.damage:
            raise other
        self._reach_end_of_packets(origin)

    def _frames_from(self, part: Part, origin: float) -> Iterator[SoundFrame]:
        if part.starts_video:
            return itertools.chain([self._first], self._sound_frames)
        try:
            self._pass = self._pass_from(part.key_seconds + origin)
        except av.FFmpegError as error:
            raise NotAsPlanned(f"{self._path.name}: no key frame is found at {part.key_seconds:g} s") from error
        return self._pass.frames()

    def _pass_from(self, stamp: float) -> Pass:
        """A pass from the key frame at or before a stamp; raises `av.FFmpegError` where seeking fails."""
        self._source.seek(stamp)
        shapes, only = self._pass.shapes, self._keyframes_only
        return Pass(self._source, keyframes_only=only, begins_at_key=True, shapes=shapes, beat=self._beat)

    def _reach_end_of_packets(self, origin: float) -> None:
        """The last key frame stands for the time until the end of what follows it."""
        if self._keyframes_only:
            end = round(self._pass.end_stamp - origin, 6)
            self.timeline.end_seconds = max(self.timeline.end_seconds, end)

    def _placed(self, sound_frames: Iterator[SoundFrame], timeline: Timeline) -> Iterator[Picture]:
        for sound in sound_frames:
            if self._keyframes_only and sound.damage and sound.damage_stamp is not None:
                # A key frame stands for the time until the next one is due, not for one frame.
                timeline.end_seconds = max(timeline.end_seconds, round(sound.damage_stamp - timeline.origin, 6))
            time = timeline.place(
                sound.stamp,
                sound.seconds,
                is_key=sound.is_key,
                is_seam=sound.is_seam,
                damage=sound.damage,
            )
            if time is not None:
                yield Picture(time, sound.frame, sound.shape)

    def _sought(self, times: Sequence[float], index: FrameIndex) -> Iterator[Picture]:
        """Frames from the key frame before each time up to that time, and one more; ends where seeking is not exact."""
        origin = self._first.stamp or 0.0
        reached = -1.0
        frames: Iterator[SoundFrame] = iter(())
        for wanted in times:
            if wanted <= reached:
                continue
            # A key frame's own neighbour, for deinterlacing, lies behind the key frame before it.
            key = index.key_before(max(0, int(np.searchsorted(index.times, wanted)) - 1))
            if reached < 0 or key > reached:
                try:
                    frames = self._pass_from(key + origin).frames()
                except av.FFmpegError:
                    return
            for sound in frames:
                time = _time_of(sound, origin)
                if time is None:
                    return
                reached = time
                yield Picture(reached, sound.frame, sound.shape)
                if reached > wanted:
                    break
            if reached < wanted:
                return

    def _forward(self, times: Sequence[float]) -> Iterator[Picture]:
        """The frames at given times, decoded from the start of the file, which is opened again."""
        source = Source(self._path, device=self._device)
        try:
            frames = Pass(source, beat=self._beat).frames()
            wanted = set(times)
            for picture in _with_neighbours(self._placed(frames, self._new_timeline())):
                if picture.time in wanted:
                    wanted.discard(picture.time)
                    yield picture
                if not wanted:
                    return
        finally:
            source.close()

    def _first_frame(self) -> SoundFrame:
        frame = next(self._sound_frames, None)
        if frame is None:
            codec = self._source.context.name
            raise VideoError(f"{self._path.name} holds a {codec} video stream, but no frame of it can be decoded")
        return frame


def _time_of(sound: SoundFrame, origin: float) -> float | None:
    return None if sound.stamp is None else round(sound.stamp - origin, 6)


def _with_neighbours(pictures: Iterator[Picture]) -> Iterator[Picture]:
    """Each picture with the frames before and behind it, where they are near in time: one frame late."""
    before: Picture | None = None
    held: Picture | None = None
    for picture in pictures:
        if held is not None:
            yield held._replace(before=_near(before, held), after=_near(picture, held))
        before, held = held, picture
    if held is not None:
        yield held._replace(before=_near(before, held))


def _near(other: Picture | None, picture: Picture) -> av.VideoFrame | None:
    is_near = other is not None and abs(other.time - picture.time) < _NEAR_SECONDS
    return other.frame if other is not None and is_near else None

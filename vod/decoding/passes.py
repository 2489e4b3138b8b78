"""One pass over a stream: packets in, sound frames out, in the decoder's order.

A frame is sound where nothing that it was predicted from is damaged. Packets are numbered in the order of decoding,
and each frame carries the number of its packet, so that damage at packet n makes unsound:

- the frames of packets from n on, until the decoder begins anew: at the first key frame (or recovery point) of a later
  packet; what is shown before that key frame is not sound either, since it may lean on the damaged group. Where
  pictures are refreshed in stripes and none is a key frame, the second such point after the damage finds them whole;
- and that of packet n - 1 where the decoder fails without saying in which frame, or where bytes of the file belong to
  no packet: damage seldom begins at a packet's first byte.

Frames are held back while one of an earlier packet is to come: pictures that are shown before the one that they are
predicted from are known to be sound only then.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Final, NamedTuple

import av
from av.codec.codec import Capabilities

from vod.decoding.containers import Source
from vod.decoding.geometry import Shape, Shapes

_MAX_READ_ERRORS: Final = 100
"""Unreadable places in a row after which the rest of a file is given up."""
_MAX_HELD: Final = 16
"""Frames held back at most; H.264 and HEVC reorder no more."""
_HOLE_PACKETS: Final = 2
"""So many packets behind a leap in time its hole may be seen: ASF's demuxer places the first one wrongly."""
_LEAP_SECONDS: Final = 10.0


_MAX_READY: Final = 8
"""Held frames from which on more than one is given after a packet."""


class SoundFrame(NamedTuple):
    """A frame that was decoded whole, and what lay before it."""

    frame: av.VideoFrame
    shape: Shape
    stamp: float | None
    """Presentation time by the stream's clock, seconds."""
    seconds: float | None
    """How long it is shown; None when unknown."""
    is_key: bool
    damage: str
    """What could not be decoded between the sound frame before and this one; empty where nothing was lost."""
    damage_stamp: float | None
    """Of the first packet of that."""
    is_seam: bool
    """Whether packets told of a seam between two recordings just before."""


class _Ticket(NamedTuple):
    """Goes with a packet to its frame. PyAV finds it by its address, so each must be an object of its own."""

    number: int


class _Held(NamedTuple):
    number: int
    frame: av.VideoFrame
    shape: Shape
    stamp: float | None
    is_refresh: bool
    """Whether its packet is one that decoding can begin with, be it a key frame or the first stripe of a refresh."""


class Pass:
    """Decodes a stream from where it stands.

    Args:
        source: Open.
        keyframes_only: The decoder leaves out all other frames.
        begins_at_key: Nothing is sound before the first key frame, as after a seek.
        shapes: What an earlier pass over the stream knows of its frames' shapes.
        beat: Called at every packet: decoding goes on, even where it gives no sound frame for long.
    """

    def __init__(
        self,
        source: Source,
        *,
        keyframes_only: bool = False,
        begins_at_key: bool = False,
        shapes: Shapes | None = None,
        beat: Callable[[], None] = lambda: None,
    ) -> None:
        self.end_stamp = 0.0
        """Where the last packet's display ends by the stream's clock, seconds."""
        self.damage = ""
        """What was damaged since the last sound frame."""
        self._damage_stamp: float | None = None
        self._source = source
        self._beat = beat
        self.shapes = shapes or Shapes(source.stream.sample_aspect_ratio)
        self._keyframes_only = keyframes_only
        self._held: deque[_Held] = deque()
        self._number = -1
        self._outstanding: list[int] = []
        self._stamps: list[float] = []
        self._bad_from: int | None = 0 if begins_at_key else None
        self._bad_until = -1
        self._refreshes = 0
        self._key_packets: deque[int] = deque(maxlen=_MAX_HELD)
        self._ratios: list[tuple[int, Fraction | None]] = []
        self._suspect: int | None = None
        self._seam = -1
        self._last_packet: tuple[float | None, float] = (None, 0.0)
        self._packet_position: int | None = None
        self._late = -_MAX_HELD
        self._file_position = -1
        self._hole = 0

    def frames(self) -> Iterator[SoundFrame]:
        """Sound frames, once."""
        for packet in self._packets():
            self._beat()
            if packet.size:
                self._number += 1
                self._look_at(packet)
            for number, frame in self._decode(packet):
                self._hold(number, frame)
            yield from self._release()
        if self._suspect == self._number:
            self._note_damage(self._number, self._number, "corrupt data: the last packet is incomplete")
        self._suspect = None
        yield from self._release(to_the_end=True)

    def _decode(self, packet: av.Packet[av.VideoStream]) -> list[tuple[int, av.VideoFrame]]:
        packet.opaque = _Ticket(self._number)
        try:
            frames = self._source.decode(packet)
        except MemoryError:
            raise  # no fault of the data
        except av.FFmpegError as error:
            self._forget_stamp(packet)
            if not self._keyframes_only or packet.is_keyframe:
                late = self._threads() - 1
                self._note_damage(self._number - late - 1, self._number - late, f"corrupt data: {error.strerror}")
            return []
        ratio = self._source.context.sample_aspect_ratio
        if not self._ratios or self._ratios[-1][1] != ratio:
            self._ratios.append((self._number, ratio))
        return [(f.opaque.number if isinstance(f.opaque, _Ticket) else self._number, f) for f in frames]

    def _threads(self) -> int:
        """Packets that are decoded at once; the decoder reports errors so much later."""
        context = self._source.context
        is_threaded = bool(context.codec.capabilities & Capabilities.frame_threads)
        return max(1, context.thread_count) if is_threaded and not self._keyframes_only else 1

    def _look_at(self, packet: av.Packet[av.VideoStream]) -> None:
        """What a packet tells before it is decoded."""
        start = _seconds(packet.dts if packet.dts is not None else packet.pts, packet.time_base)
        before, length = self._last_packet
        moved = 0.0 if start is None or before is None else start - before
        if self._suspect is not None and self._suspect < self._number:
            if moved <= 0 or moved >= _LEAP_SECONDS:
                self._seam = self._number  # the last packet of a recording counts as damaged where another one begins
            elif not self._keyframes_only:
                self._note_damage(self._suspect, self._suspect, "corrupt data: packets are missing")
            self._suspect = None
        if moved > 1.5 * length or self._source.stamps_by_decoding:  # AVI counts only the packets that it finds
            self._late = self._number
        is_late = self._number - self._late <= _HOLE_PACKETS
        if is_late and not self._keyframes_only and self._is_hole(packet):
            self._note_damage(self._late - 1, self._late - 1, "bytes of the file belong to no packet")
        self._hole = 0
        self._packet_position = packet.pos
        if packet.is_corrupt:
            # Demuxers of transport streams say so one packet early: the parser has one in hand.
            self._suspect = self._number + (1 if self._source.parses_packets else 0)
        if packet.pts is not None and packet.time_base:
            self.end_stamp = max(self.end_stamp, float((packet.pts + (packet.duration or 0)) * packet.time_base))
        if start is not None:
            self._last_packet = start, _seconds(packet.duration, packet.time_base) or self._source.frame_seconds
        if self._source.stamps_by_decoding and packet.size and start is not None:
            heapq.heappush(self._stamps, start)
        heapq.heappush(self._outstanding, self._number)
        if packet.is_keyframe:
            self._key_packets.append(self._number)

    def _is_hole(self, packet: av.Packet[av.VideoStream]) -> bool:
        """Whether bytes between the last two packets belong to none."""
        if self._source.parses_packets and packet.pos is not None and self._packet_position is not None:
            return self._source.loses_sync(self._packet_position, packet.pos)
        return self._hole >= self._source.hole_bytes

    def _hold(self, number: int, frame: av.VideoFrame) -> None:
        if number in self._outstanding:
            self._outstanding.remove(number)
            heapq.heapify(self._outstanding)
        elif self._bad_from is not None:
            return  # behind damage VP9's decoder gives old frames again
        if frame.is_corrupt:
            self._note_damage(number, number, "corrupt data: a frame was decoded only in part")
        stamp = _seconds(frame.pts, frame.time_base)
        if self._source.stamps_by_decoding and self._stamps:
            stamp = heapq.heappop(self._stamps)
        shape = self.shapes.of(frame, self._ratio_at(number))
        self._held.append(_Held(number, frame, shape, stamp, number in self._key_packets))

    def _ratio_at(self, number: int) -> Fraction | None:
        """The shape of pixels that the decoder knew when it had decoded a packet, not when it gave the frame."""
        known = number + self._threads() - 1
        return next((ratio for since, ratio in reversed(self._ratios) if since <= known), self._ratios[0][1])

    def _release(self, *, to_the_end: bool = False) -> Iterator[SoundFrame]:
        reorders = self._source.context.has_b_frames and not self._keyframes_only
        while self._held:
            number = self._held[0].number
            waits = reorders and self._outstanding and self._outstanding[0] < number
            waits = waits or (self._suspect is not None and number >= self._suspect)
            if waits and not to_the_end and len(self._held) < _MAX_HELD:
                return
            sound = self._sound(self._held.popleft())
            if sound is not None:
                yield sound
            while self._outstanding and self._outstanding[0] < number - _MAX_HELD:
                heapq.heappop(self._outstanding)
            if not to_the_end and len(self._held) < _MAX_READY:
                return  # one frame a packet: the decoder's threads work while it is scaled

    def _sound(self, held: _Held) -> SoundFrame | None:
        is_key = bool(held.frame.key_frame)
        if self._bad_from is not None and held.number >= self._bad_from:
            if not self._begins_anew(held, is_key=is_key):
                return None
            self._bad_from = None
        damage, stamp = "", None
        if self._bad_from is None:  # else it lies ahead
            damage, self.damage = self.damage, ""
            stamp, self._damage_stamp = self._damage_stamp, None
        is_seam = 0 <= self._seam <= held.number
        if is_seam:
            self._seam = -1
        seconds = _seconds(held.frame.duration, held.frame.time_base)
        return SoundFrame(held.frame, held.shape, held.stamp, seconds, is_key, damage, stamp, is_seam)

    def _begins_anew(self, held: _Held, *, is_key: bool) -> bool:
        """Whether a frame behind damage is sound: a key frame, or where a refresh in stripes is through."""
        if held.number <= self._bad_until or held.frame.is_corrupt:
            return False
        self._refreshes += held.is_refresh and not is_key
        return is_key or self._refreshes > 1

    def _note_damage(self, first: int, last: int, reason: str) -> None:
        """Packets from `first` to `last` are damaged."""
        self._source.damaged(reason)
        self._bad_from = first if self._bad_from is None else min(self._bad_from, first)
        self._bad_until = max(self._bad_until, last)
        self._refreshes = 0
        self.damage = self.damage or reason
        if self._damage_stamp is None:
            self._damage_stamp = self._last_packet[0]

    def _forget_stamp(self, packet: av.Packet[av.VideoStream]) -> None:
        stamp = _seconds(packet.dts if packet.dts is not None else packet.pts, packet.time_base)
        if stamp in self._stamps:
            self._stamps.remove(stamp)
            heapq.heapify(self._stamps)

    def _packets(self) -> Iterator[av.Packet[av.VideoStream]]:
        errors = 0
        while errors < _MAX_READ_ERRORS:
            try:
                for packet in self._source.packets():
                    errors = 0
                    self._note_hole(packet)
                    if packet.stream is self._source.stream or packet.stream.index == self._source.stream.index:
                        yield from [packet] if packet.size or packet.dts is None else []  # AVI: "shown as before"
                return
            except av.FFmpegError as error:  # noqa: PERF203  reading goes on behind the damage
                errors += 1
                self._note_damage(self._number, self._number, f"unreadable data: {error.strerror}")

    def _note_hole(self, packet: av.Packet[av.VideoStream]) -> None:
        if not self._source.fills_file or packet.pos is None or packet.pos < 0:
            return
        if 0 <= self._file_position < packet.pos:
            self._hole += packet.pos - self._file_position
        self._file_position = packet.pos + packet.size


def _seconds(value: int | None, time_base: object) -> float | None:
    return None if value is None or not time_base else float(value * time_base)  # type: ignore[operator]

"""The record of one segment: what the networks said of it, as bytes that can be kept and sent."""

from __future__ import annotations

import json
import struct
import sys
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from reeltag.errors import StaleRecord
from reeltag.tags import Gap
from vod.decoding.blocks import End
from vod.segments.findings import Findings
from vod.stores.thumbnails import Thumbnail

VERSION: Final = 1
"""Changes with what the bytes mean; no other version is read."""
_MARK: Final = b"reeltag segment "
_HEAD: Final = struct.Struct("<HII")
"""Version, bytes of the description, bytes of the tables; the thumbnails follow."""


@dataclass(frozen=True, eq=False)
class SegmentRecord:
    """What was seen in one segment."""

    segment: int
    """Its place among the segments of its plan."""
    networks: Mapping[str, str]
    """Which network each ensemble was (`Networks.versions`)."""
    end: End
    """How decoding ended; of the last segment it tells how long the video is."""
    findings: Findings
    thumbnails: Mapping[float, Thumbnail]
    """Small pictures of sampled frames by presentation time, seconds from the video's first frame."""

    def to_bytes(self) -> bytes:
        """Compact, and the same for the same record; pictures take most of it."""
        said = json.dumps(self._description(), sort_keys=True, separators=(",", ":")).encode()
        data = b"".join(_little(array) for table in self.findings.tables() for array in table.arrays())
        tables = zlib.compress(data, 6)
        pictures = [self.thumbnails[time].jpeg for time in sorted(self.thumbnails)]
        return b"".join([_MARK, _HEAD.pack(VERSION, len(said), len(tables)), said, tables, *pictures])

    def _description(self) -> dict[str, Any]:
        shown = sorted(self.thumbnails.items())
        return {
            "segment": self.segment,
            "networks": dict(self.networks),
            "frames_decoded": self.end.frames_decoded,
            "end_seconds": self.end.end_seconds,
            "duration_seconds": self.end.duration_seconds,
            "gaps": [gap.model_dump() for gap in self.end.gaps],
            "lengths": [len(array) for table in self.findings.tables() for array in table.arrays()],
            "thumbnails": [[time, each.width, each.height, len(each.jpeg)] for time, each in shown],
        }

    @classmethod
    def from_bytes(cls, data: bytes) -> SegmentRecord:
        """The reverse of `to_bytes`.

        Raises:
            StaleRecord: It is of another version, or is not whole.
        """
        if not data.startswith(_MARK) or len(data) < len(_MARK) + _HEAD.size:
            raise StaleRecord("these bytes are no record of a segment")
        version, *lengths = _HEAD.unpack_from(data, len(_MARK))
        if version != VERSION:
            raise StaleRecord(
                f"the record of a segment has version {version}, this reeltag reads {VERSION}: tag the segment again"
            )
        try:
            return cls._from_parts(memoryview(data)[len(_MARK) + _HEAD.size :], *lengths)
        except (zlib.error, ValueError, KeyError) as error:
            raise StaleRecord(f"the record of a segment is not whole: {error}") from error

    @classmethod
    def _from_parts(cls, data: memoryview, said_bytes: int, table_bytes: int) -> SegmentRecord:
        said = json.loads(bytes(data[:said_bytes]))
        pictures = said_bytes + table_bytes
        thumbnails: dict[float, Thumbnail] = {}
        for time, width, height, length in said["thumbnails"]:
            thumbnails[time] = Thumbnail(bytes(data[pictures : pictures + length]), width, height)
            pictures += length
        if pictures != len(data):
            raise ValueError(f"it has {len(data)} bytes, not {pictures}")
        gaps = tuple(Gap.model_validate(gap) for gap in said["gaps"])
        return cls(
            segment=said["segment"],
            networks=said["networks"],
            end=End(said["frames_decoded"], said["end_seconds"], said["duration_seconds"], gaps),
            findings=_findings(zlib.decompress(data[said_bytes : said_bytes + table_bytes]), said["lengths"]),
            thumbnails=thumbnails,
        )


def _findings(data: bytes, lengths: list[int]) -> Findings:
    findings, start = Findings(), 0
    arrays = [array for table in findings.tables() for array in table.arrays()]
    for array, length in zip(arrays, lengths, strict=True):
        end = start + length * array.itemsize
        array.frombytes(data[start:end])
        if sys.byteorder == "big":
            array.byteswap()
        start = end
    if start != len(data):
        raise ValueError(f"its tables have {len(data)} bytes, not {start}")
    return findings


def _little(array: Any) -> bytes:
    if sys.byteorder == "big":
        array = array[:]
        array.byteswap()
    return bytes(array.tobytes())

"""Tags of a segment while it is looked at, for those who do not want to wait for the whole video."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from reeltag.tags import Tag
from vod.options import TagOptions
from vod.segments.findings import Findings
from vod.segments.merging import preliminary
from vod.segments.networks import Networks
from vod.segments.plan import Segment

MOST_FRAMES: Final = 512
"""Sampled frames of a segment of which tags are made before it is done: more would keep a worker's loop busy."""


class Glimpses:
    """Tells the tags of what was seen so far, each time that it is four times as much, so that it costs little.

    Args:
        segment: That is looked at.
        networks: That look.
        options: How.
        tell: Told the tags.
    """

    def __init__(
        self, segment: Segment, networks: Networks, options: TagOptions, tell: Callable[[tuple[Tag, ...]], None]
    ) -> None:
        self._segment = segment
        self._networks = networks
        self._options = options
        self._tell = tell
        self._due = 1
        """Frames that must have been seen for the next time."""

    def look(self, findings: Findings, *, is_whole: bool = False) -> None:
        """Tell what there is of it, where that is due.

        Args:
            findings: Of the segment, so far; copied, since a table that is looked at cannot grow.
            is_whole: Whether these are all.
        """
        count = len(findings.objects.times)
        if not (min(self._due, count) if is_whole else self._due) <= count <= MOST_FRAMES:
            return
        self._due = 4 * count
        copied = Findings()
        copied.extend(findings)
        self._tell(preliminary(copied, self._segment.start_seconds, self._networks, self._options))

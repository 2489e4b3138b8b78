"""Fields: pictures of interlaced video are made whole, so that what moves has no combs.

Where a frame says that it is interlaced, BWDIF (Bob Weaver deinterlacing filter, from FFmpeg; after BBC R&D's w3fdif
and yadif) keeps the lines of its first field and makes the others from the fields around them in space and time. It is
done for the frames that are sampled, not for those that only the shot detector sees: at 27 rows a comb averages out.
"""

from __future__ import annotations

from typing import Final

import av
from av.filter import Graph

_BWDIF: Final = "mode=send_frame:parity=auto:deint=interlaced"


def deinterlaced(frame: av.VideoFrame, before: av.VideoFrame | None, after: av.VideoFrame | None) -> av.VideoFrame:
    """A whole picture at the time of `frame`; the frame itself where it is not interlaced.

    Args:
        frame: The frame.
        before: The one that was shown before it, if there is one of its size.
        after: The one that is shown behind it.
    """
    if not frame.interlaced_frame:
        return frame
    around = [each if each is not None and _is_alike(each, frame) else None for each in (before, after)]
    if around == [None, None]:
        return _first_field(frame)
    graph = _graph(frame, "bwdif", _BWDIF)
    given = [each for each in (around[0], frame, around[1]) if each is not None]
    for each in given:
        graph.push(each)
    graph.push(None)
    wanted = given.index(frame)
    for _ in range(wanted):
        graph.pull()
    made = graph.pull()
    assert isinstance(made, av.VideoFrame)
    return made


def _first_field(frame: av.VideoFrame) -> av.VideoFrame:
    """Every second line, twice as high again by whoever scales it: of half the rows."""
    graph = _graph(frame, "field", "top")
    graph.push(frame)
    made = graph.pull()
    assert isinstance(made, av.VideoFrame)
    return made


def _graph(frame: av.VideoFrame, name: str, arguments: str) -> Graph:
    graph = Graph()
    source = graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base)
    graph.link_nodes(source, graph.add(name, arguments), graph.add("buffersink")).configure()
    return graph


def _is_alike(one: av.VideoFrame, other: av.VideoFrame) -> bool:
    return (one.width, one.height, one.format.name) == (other.width, other.height, other.format.name)

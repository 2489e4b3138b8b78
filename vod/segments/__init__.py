"""One video from its file to its tags, in segments that may be tagged at other times and on other machines.

`plan_video` says where it can be cut, `tag_segment` tags one segment, `merged` makes the whole of their records. Any
number of segments gives the same result, byte by byte.
"""

from vod.segments.merging import merged
from vod.segments.plan import Segment, VideoPlan, plan_video
from vod.segments.record import SegmentRecord
from vod.segments.tagging import tag_segment

__all__ = ["Segment", "SegmentRecord", "VideoPlan", "merged", "plan_video", "tag_segment"]

"""How much memory of a GPU the decoding of pictures there takes at most, and the bounds that make it so."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from .resampling import KEPT_WEIGHTS
from .views import View

MOST_PIXELS: Final = 1 << 24
"""Of a picture; larger ones are for the CPU."""
LONGEST_SIDE: Final = 8192
"""Of a picture, columns or rows."""
CHUNK_PIXELS: Final = 1 << 25
"""Decoded at one time, 96 MiB as RGB; a batch of 32 pictures of 1280x720 is one chunk."""
FIT_PIXELS: Final = 1 << 23
"""Fitted at one time, as decoded, as half resampled and as fitted, but for a single larger picture."""
_RGB: Final = 3
"""Bytes of a pixel."""
_HALF: Final = 2 * _RGB
"""Bytes of a pixel that is computed with, in half precision."""


def decoding_bytes(views: Sequence[View], pictures: int) -> int:
    """Most memory of the GPU that is allocated for pixels at one time, whatever the pictures are.

    CUDA's and nvImageCodec's own memory, and what Triton copies into its pool, come on top.

    Args:
        views: That each picture is fitted into.
        pictures: Of all requests that are in work.
    """
    decoded = _RGB * CHUNK_PIXELS
    height = max(view.height for view in views)
    area = max(view.height * view.width for view in views)
    # Stacked, as planes, with the rows resampled, with the columns as well, and that rounded.
    several = (_RGB + 4 * _HALF) * FIT_PIXELS
    alone = _HALF * (MOST_PIXELS + height * LONGEST_SIDE + 2 * area)
    longest = max(max(view.height, view.width) for view in views)
    weights = KEPT_WEIGHTS * 2 * LONGEST_SIDE * longest
    answers = pictures * _RGB * sum(view.height * view.width for view in views)
    return decoded + max(several, alone) + weights + answers

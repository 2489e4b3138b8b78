"""Messages of `reeltag.v1` with random damage, the same for the same seed."""

from __future__ import annotations

import random
from collections.abc import Iterator

from reeltag.v1 import tagging_pb2 as pb


def mutated_requests(image: bytes, count: int, seed: int = 0) -> Iterator[bytes]:
    """So many damaged `TagImagesRequest`s of this image."""
    rng = random.Random(seed)
    names = ("a.jpg", "", "ü" * 300, "\u202e\U0001f600" * 20, "../" * 50, "n" * 4096)
    options = (
        pb.TagOptions(),
        pb.TagOptions(tasks=["detect"], score_threshold=0.5, top_k=3),
        pb.TagOptions(tasks=["detect", "classify"], boxes=pb.BOXES_NORMALISED),
        pb.TagOptions(tasks=["segment"], class_map=True),
    )
    for _ in range(count):
        images = [pb.Image(name=rng.choice(names), data=image) for _ in range(rng.randint(0, 3))]
        whole = pb.TagImagesRequest(images=images, options=rng.choice(options)).SerializeToString()
        yield mutated(whole, rng)


def mutated(data: bytes, rng: random.Random) -> bytes:
    """The bytes with one to four of: flipped bits, a piece cut out, doubled, filled in, moved, or the end cut off."""
    damaged = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(damaged) + 1)
        end = min(len(damaged), at + rng.choice((1, 2, 8, 64, 1024)))
        kind = rng.randrange(6)
        if kind == 0 and at < len(damaged):
            damaged[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            del damaged[at:end]
        elif kind == 2:
            damaged[at:at] = damaged[at:end]
        elif kind == 3:
            damaged[at:at] = rng.randbytes(end - at)
        elif kind == 4:
            piece = bytes(damaged[at:end])
            del damaged[at:end]
            to = rng.randrange(len(damaged) + 1)
            damaged[to:to] = piece
        elif rng.random() < 0.3:
            del damaged[at:]
    return bytes(damaged)

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from benchmarks.hostile_files import png, png_chunk
from gateway.queueing.batch_limits import BatchLimits
from gateway.queueing.ways import LARGE_IN_FLIGHT, Sound, Ways
from gateway.receiving.headers import HeaderReader
from gateway.tritons.tagger import Wanted
from reeltag.errors import ImageRejected, Overloaded, TritonUnavailable
from reeltag.frames import ImageHeader
from reeltag.frames.header import MAX_CHUNKS
from reeltag.priority import Priority
from reeltag.triton import ImageOutputs
from tests.gateway.clock import run
from tests.gateway.fakes import encoded
from tests.gateway.numbered import DETECT, Triton, identities, images_of, own

LIMITS = BatchLimits(max_images=4, max_delay_seconds=0.01, max_inflight=1, max_waiting=64, timeout_seconds=100)


def sounds(request: int, large: list[bool]) -> list[Sound]:
    return [Sound(image, is_large) for image, is_large in zip(images_of(request, len(large)), large, strict=True)]


def ways_of(triton: Triton, limits: BatchLimits = LIMITS, max_large: int = 32) -> Ways:
    return Ways(triton.infer, limits, max_large, lambda *_: None)


class UnequalTriton(Triton):
    """Takes a hundred seconds for an image of request 0, and one for the others."""

    async def infer(self, wanted: Wanted, images: Sequence[bytes], deadline: float) -> list[ImageOutputs]:
        self.seconds = 100.0 if images[0].startswith(b"0:") else 1.0
        return await super().infer(wanted, images, deadline)


def test_large_pictures_are_sent_one_by_one_and_hold_nobody_up() -> None:
    async def main() -> None:
        triton = UnequalTriton()
        ways = ways_of(triton, BatchLimits(4, 0.01, 1, 64, 1000))
        large = asyncio.ensure_future(ways.submit(DETECT, sounds(0, [True] * (LARGE_IN_FLIGHT + 2))))
        await asyncio.sleep(0.5)
        assert triton.sizes == [1] * LARGE_IN_FLIGHT
        assert (ways.inflight, ways.waiting) == (LARGE_IN_FLIGHT, 2)
        batched = await ways.submit(DETECT, sounds(1, [False] * 3))
        assert identities(batched) == own(1, 3)
        assert batched.queue_seconds < 0.1
        assert asyncio.get_running_loop().time() < 2
        assert identities(await large) == own(0, LARGE_IN_FLIGHT + 2)

    run(main())


def test_answers_are_in_the_order_of_the_images() -> None:
    async def main() -> None:
        triton = Triton()
        batched = await ways_of(triton).submit(DETECT, sounds(3, [True, False, False, True, False]))
        assert identities(batched) == own(3, 5)
        assert sorted(triton.sizes) == [1, 1, 3]

    run(main())


def test_too_many_large_pictures_are_refused_and_ordinary_ones_are_not() -> None:
    async def main() -> None:
        triton = Triton()
        ways = ways_of(triton, max_large=4)
        waiting = [asyncio.ensure_future(ways.submit(DETECT, sounds(r, [True] * 4))) for r in range(3)]
        await asyncio.sleep(0.5)
        with pytest.raises(Overloaded):
            await ways.submit(DETECT, sounds(8, [False, True]))
        ways.admit(Priority.INTERACTIVE)
        assert identities(await ways.submit(DETECT, sounds(9, [False]))) == own(9, 1)
        assert [identities(batched) for batched in await asyncio.gather(*waiting)] == [own(r, 4) for r in range(3)]
        assert b"8:0" not in [image for _, _, images in triton.batches for image in images]
        assert (ways.inflight, ways.waiting) == (0, 0)

    run(main())


def test_an_error_of_a_large_picture_is_its_own() -> None:
    async def main() -> None:
        triton = Triton(error=TritonUnavailable("down"))
        ways = ways_of(triton)
        asked = asyncio.ensure_future(ways.submit(DETECT, sounds(0, [True])))
        await asyncio.sleep(0.5)
        assert identities(await asked) == ["triton_unavailable"]
        triton.error = None
        await ways.close(5)

    run(main())


def test_headers_are_read_in_order_with_their_errors() -> None:
    async def main() -> list[ImageHeader | ImageRejected]:
        reader = HeaderReader(64 * 48)
        try:
            return await reader.read([encoded(64, 48), b"junk", encoded(48, 64, "PNG"), encoded(65, 48), b""])
        finally:
            reader.close()

    first, junk, third, too_large, empty = asyncio.run(main())
    assert isinstance(first, ImageHeader)
    assert isinstance(third, ImageHeader)
    assert (first.format, third.format, third.height) == ("JPEG", "PNG", 64)
    codes = [error.code for error in (junk, too_large, empty) if isinstance(error, ImageRejected)]
    assert codes == ["not_an_image", "too_many_pixels", "empty"]


def test_the_loop_goes_on_while_headers_are_read() -> None:
    slow = png(8, before=png_chunk(b"tEXt") * (MAX_CHUNKS - 10))

    async def main() -> int:
        reader = HeaderReader(64)
        reading = asyncio.ensure_future(reader.read([slow] * 32))
        turns = 0
        while not reading.done():
            await asyncio.sleep(0)
            turns += 1
        reader.close()
        assert all(isinstance(header, ImageHeader) for header in await reading)
        return turns

    assert asyncio.run(main()) > 10

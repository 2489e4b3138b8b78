from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from reeltag.embedded.guard import PULSE, PULSE_FORMAT, now
from reeltag.embedded.pulse import LATE_SECONDS
from reeltag.errors import BackendLost, ReeltagError
from reeltag.triton_errors import meaning_of
from reeltag.trust import Trust


async def call(trust: Trust, seconds: float, error: ReeltagError | None = None) -> str:
    async with trust.of_answer():
        await asyncio.sleep(seconds)
        if error is not None:
            raise error
    return "answered"


def test_answers_that_were_on_their_way_when_a_backend_was_lost_are_refused() -> None:
    said: list[str] = []

    async def main() -> None:
        trust = Trust("here", said.append)
        before = await call(trust, 0)
        lost = asyncio.ensure_future(call(trust, 0.05, BackendLost("decode is not healthy")))
        meanwhile = asyncio.ensure_future(call(trust, 0.1))
        failed = asyncio.ensure_future(call(trust, 0.1, ReeltagError("expected 1 inputs but got 0")))
        await asyncio.wait([lost])
        after = await call(trust, 0.1)
        assert (before, after) == ("answered", "answered")
        with pytest.raises(BackendLost, match="decode is not healthy"):
            await lost
        for one in (meanwhile, failed):
            with pytest.raises(BackendLost, match="lost a backend meanwhile"):
                await one
        trust.close()

    asyncio.run(main())
    assert said == ["decode is not healthy"]


def test_other_errors_are_passed_on() -> None:
    async def main() -> None:
        trust = Trust("here", None)
        with pytest.raises(ReeltagError, match="of the model"):
            await call(trust, 0, ReeltagError("of the model"))
        trust.close()

    asyncio.run(main())


def test_answers_that_were_on_their_way_when_something_stood_still_are_refused(tmp_path: Path) -> None:
    pulse = tmp_path / PULSE

    def beat(looked_at: float, stood_still_at: float) -> None:
        pulse.write_bytes(PULSE_FORMAT.pack(looked_at, stood_still_at))

    async def main() -> None:
        beat(now(), now() - 5)
        trust = Trust(f"unix:{tmp_path}/grpc:1", None)
        assert await call(trust, 0.01) == "answered"
        stopped = asyncio.ensure_future(call(trust, 0.1))
        await asyncio.sleep(0.05)
        beat(now(), now())  # a backend was stopped meanwhile
        with pytest.raises(BackendLost, match="stood still"):
            await stopped
        assert await call(trust, 0.01) == "answered"
        beat(now() - LATE_SECONDS, now() - 5)  # we were continued before the guard was
        with pytest.raises(BackendLost, match="stood still"):
            await call(trust, 0)
        pulse.write_bytes(b"")  # no room to write: nothing is known
        assert await call(trust, 0) == "answered"
        trust.close()

    asyncio.run(main())


@pytest.mark.parametrize(
    "message",
    [
        "in ensemble 'detect', Stub process 'decode_0_0' is not healthy.",
        "Failed to process the request(s): Failed to obtain the health mutex.",
    ],
)
def test_what_triton_says_of_a_dead_backend_is_503(message: str) -> None:
    error = meaning_of("StatusCode.INTERNAL", message, "unix:/x")
    assert isinstance(error, BackendLost)
    assert (error.http_status, error.retry_after_seconds) == (503, 5)

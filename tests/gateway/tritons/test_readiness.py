from __future__ import annotations

import asyncio
from typing import Any

import pytest

from gateway.tritons.catalogue import Catalogue
from gateway.tritons.readiness import LIFETIME_SECONDS, Readiness
from gateway.tritons.tagger import TaskSet
from reeltag.contract import SMALL_IMAGE, Task
from reeltag.errors import BackendLost, ModelUnavailable, ReeltagError, ServiceError
from reeltag.frames import read_header
from reeltag.settings import Settings
from tests.gateway.fakes import Broken, FakeTagger, card, code_of, encoded, gateway

BOTH: TaskSet = (Task.DETECT, Task.CLASSIFY)


def readiness_of(tagger: FakeTagger) -> Readiness:
    return Readiness(tagger, Catalogue(tagger, 60))


def test_the_small_image_is_an_image() -> None:
    header = read_header(SMALL_IMAGE)
    assert (header.format, header.width, header.height) == ("JPEG", 8, 8)


def test_every_served_task_is_tried_with_as_few_requests_as_answer_it() -> None:
    tagger = FakeTagger(["detect", "classify", "segment", "detect_classify"])
    asyncio.run(readiness_of(tagger).check())
    assert tagger.batches == [(BOTH, 1), ((Task.SEGMENT,), 1)]
    tagger = FakeTagger(["detect", "classify"])
    asyncio.run(readiness_of(tagger).check())
    assert tagger.batches == [((Task.DETECT,), 1), ((Task.CLASSIFY,), 1)]


def test_an_answer_counts_for_a_second_good_or_bad() -> None:
    tagger = FakeTagger()

    async def main() -> None:
        readiness = readiness_of(tagger)
        await asyncio.gather(*(readiness.check() for _ in range(20)))
        tagger.error = BackendLost("gone")
        await readiness.check()
        assert len(tagger.batches) == 1
        await asyncio.sleep(LIFETIME_SECONDS)
        for _ in range(3):
            with pytest.raises(ServiceError):
                await readiness.check()
        tagger.error = None
        await asyncio.sleep(LIFETIME_SECONDS)
        await readiness.check()
        assert len(tagger.batches) == 2

    asyncio.run(main())


def test_requests_that_were_just_answered_show_as_much() -> None:
    tagger = FakeTagger(["detect", "classify", "segment", "detect_classify"])

    async def main() -> None:
        readiness = readiness_of(tagger)

        async def ask(tasks: TaskSet) -> None:
            await readiness.observe(tasks, tagger.infer_images({task: card(task) for task in tasks}, [encoded()]))

        await ask(BOTH)
        await readiness.check()
        assert tagger.batches[1:] == [((Task.SEGMENT,), 1)]
        tagger.error = BackendLost("gone")
        with pytest.raises(BackendLost):
            await ask(BOTH)
        tagger.error = None
        await asyncio.sleep(LIFETIME_SECONDS)
        tagger.batches.clear()
        await readiness.check()
        assert tagger.batches[0] == (BOTH, 1)

    asyncio.run(main())


@pytest.mark.parametrize("error", [Broken("it does not work"), ModelUnavailable("it does not work")])
def test_a_task_that_fails_is_not_ready(error: ReeltagError) -> None:
    class Failing(FakeTagger):
        async def infer_images(self, *_: Any, **__: Any) -> Any:
            raise error

    with pytest.raises(ServiceError, match="it does not work"):
        asyncio.run(readiness_of(Failing()).check())


class Own:
    """A Triton of the gateway's own."""

    trouble: str | None = None

    def restart(self, reason: str) -> None:
        raise AssertionError(reason)


def test_alive_until_its_own_triton_does_not_come_back() -> None:
    own = Own()
    with gateway(FakeTagger(), Settings(), own) as client:
        assert client.get("/healthz").json() == {"status": "ok"}
        own.trouble = "3 starts in a row came to nothing"
        answer = client.get("/healthz")
        assert (answer.status_code, code_of(answer)) == (503, "triton_unavailable")
        message = answer.json()["error"]["message"]
        assert "does not come back" in message
        assert "3 starts in a row" not in message, "that is for the log"
        own.trouble = None
        assert client.get("/healthz").status_code == 200

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from gateway.batching import Batcher
from gateway.queueing.backlog import BULK_SHARE, Backlog
from gateway.queueing.batch_limits import BatchLimits
from gateway.queueing.ticket import Member, Ticket
from gateway.tritons.tagger import Wanted
from reeltag.errors import DeadlineExceeded, InvalidOption, Overloaded
from reeltag.priority import Priority
from reeltag.triton import ImageOutputs
from tests.gateway.clock import run
from tests.gateway.numbered import BOTH, CLASSIFY, DETECT, Triton, identities, images_of, own

INTERACTIVE, BULK = Priority.INTERACTIVE, Priority.BULK
LIMITS = BatchLimits(max_images=4, max_delay_seconds=0.01, max_inflight=1, max_waiting=64, timeout_seconds=1000)


def test_who_waits_for_an_answer_goes_before_a_large_job() -> None:
    async def main() -> None:
        triton = Triton()
        batcher = Batcher(triton.infer, LIMITS)
        bulk = [asyncio.ensure_future(batcher.submit(DETECT, images_of(1, 60), priority=BULK))]
        await asyncio.sleep(0.5)
        batched = await batcher.submit(DETECT, images_of(2, 3))
        assert identities(batched) == own(2, 3)
        assert batched.queue_seconds == pytest.approx(0.5), "they leave with the next batch"
        assert identities(await bulk[0]) == own(1, 60)

    run(main())


def test_beside_a_camera_what_came_last_goes_first() -> None:
    """The settings of `reeltag serve --profile edge`."""
    from reeltag.commands.serve import EDGE_PROFILE

    async def main() -> None:
        triton = Triton()
        limits = BatchLimits(
            max_images=EDGE_PROFILE["batch_max_images"],
            max_delay_seconds=EDGE_PROFILE["batch_max_delay_microseconds"] / 1e6,
            max_inflight=EDGE_PROFILE["max_inflight_requests"],
            max_waiting=64,
            timeout_seconds=1000,
            newest_first=bool(EDGE_PROFILE["newest_first"]),
        )
        batcher = Batcher(triton.infer, limits)
        answered: list[int] = []

        async def ask(number: int) -> None:
            await batcher.submit(DETECT, images_of(number, 1))
            answered.append(number)

        await asyncio.gather(*(ask(number) for number in range(1, 6)))
        # The first finds Triton idle; of those that wait behind it, the newest is next.
        assert answered == [1, 5, 4, 3, 2]

    run(main())


@pytest.mark.parametrize("wanted", [DETECT, CLASSIFY], ids=["the same is wanted", "something else is wanted"])
def test_a_large_job_has_its_share_under_a_load_without_end(wanted: Wanted) -> None:
    async def visitor(batcher: Batcher, number: int) -> None:
        while True:
            await batcher.submit(DETECT, images_of(number, 1))

    async def main() -> None:
        triton = Triton()
        batcher = Batcher(triton.infer, LIMITS)
        visitors = [asyncio.ensure_future(visitor(batcher, number)) for number in range(2, 34)]
        await asyncio.sleep(10)
        start = asyncio.get_running_loop().time()
        assert identities(await batcher.submit(wanted, images_of(1, 40), priority=BULK)) == own(1, 40)
        seconds = asyncio.get_running_loop().time() - start
        # 4 images a second, of which one is bulk's; the first waits for a batch, the last takes one.
        assert seconds == pytest.approx(40, abs=4)
        for task in visitors:
            task.cancel()
        await asyncio.gather(*visitors, return_exceptions=True)
        await batcher.close(10)

    run(main())


@dataclass
class Shop:
    """A backlog, and what was taken from it."""

    backlog: Backlog
    wanted: dict[Ticket, Wanted] = field(default_factory=dict)
    stretch: list[Priority] = field(default_factory=list)
    """Of the images that were sent since both priorities have been waiting."""

    def take(self, now: float) -> list[Member] | None:
        before = {priority: self.backlog.waiting(priority) for priority in Priority}
        batch = self.backlog.take(1, now, idle=1)
        if batch is None:
            return None
        for member in batch[1]:
            if not all(before.values()):
                self.stretch.clear()
            else:
                self.stretch.append(member.ticket.priority)
            before[member.ticket.priority] -= 1
        return batch[1]


ARRIVALS = st.lists(
    st.tuples(
        st.sampled_from([DETECT, CLASSIFY, BOTH]),
        st.sampled_from(list(Priority)),
        st.integers(1, 20),
        st.integers(0, 3),
    ),
    min_size=1,
    max_size=40,
)


@hypothesis_settings(max_examples=300, deadline=None)
@given(arrivals=ARRIVALS, size=st.integers(1, 9))
def test_no_priority_starves(arrivals: list[tuple[Wanted, Priority, int, int]], size: int) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        shop = Shop(Backlog(BatchLimits(size, 0.0, 1, 10_000, 1000)))
        taken: list[tuple[Ticket, int]] = []
        for wanted, priority, count, batches in arrivals:
            ticket = Ticket(images_of(0, count), priority, 1000, loop)
            shop.wanted[ticket] = wanted
            shop.backlog.add(wanted, ticket)
            for _ in range(batches):
                taken += [(member.ticket, member.position) for member in shop.take(loop.time()) or ()]
                bulk = shop.stretch.count(BULK)
                assert bulk >= BULK_SHARE * len(shop.stretch) - size - 1, shop.stretch
        while members := shop.take(loop.time()):
            assert len({shop.wanted[member.ticket] for member in members}) == 1
            taken += [(member.ticket, member.position) for member in members]
        assert sorted(taken, key=lambda one: (id(one[0]), one[1])) == sorted(
            ((ticket, index) for ticket in shop.wanted for index in range(len(ticket.images))),
            key=lambda one: (id(one[0]), one[1]),
        )
        assert [shop.backlog.waiting(priority) for priority in Priority] == [0, 0]

    run(main())


def test_each_priority_has_places_of_its_own() -> None:
    async def main() -> None:
        batcher = Batcher(Triton(10).infer, LIMITS)
        jobs = [asyncio.ensure_future(batcher.submit(DETECT, images_of(r, 34), priority=BULK)) for r in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(Overloaded) as refused:
            await batcher.submit(DETECT, images_of(8, 1), priority=BULK)
        assert refused.value.retry_after_seconds
        assert identities(await batcher.submit(DETECT, images_of(9, 1))) == own(9, 1)
        assert [identities(await job) for job in jobs] == [own(0, 34), own(1, 34)]

    run(main())


def test_a_caller_without_time_is_answered_at_once_and_nothing_is_sent_for_it() -> None:
    async def main() -> None:
        triton = Triton()
        batcher = Batcher(triton.infer, LIMITS)
        for seconds in (0.0, -1.0):
            batched = await batcher.submit(DETECT, images_of(1, 2), timeout_seconds=seconds)
            assert identities(batched) == ["deadline_exceeded"] * 2
            assert all(isinstance(answer, DeadlineExceeded) for answer in batched.answers)
        assert triton.batches == []
        assert batcher.waiting == 0

    run(main())


def test_a_batch_takes_the_latest_deadline_of_its_requests_to_triton() -> None:
    class Timed(Triton):
        async def infer(self, wanted: Wanted, images: Sequence[bytes], deadline: float) -> list[ImageOutputs]:
            deadlines.append(deadline)
            return await super().infer(wanted, images, deadline)

    deadlines: list[float] = []

    async def main() -> None:
        batcher = Batcher(Timed().infer, LIMITS)
        first = asyncio.ensure_future(batcher.submit(DETECT, images_of(0, 1)))
        await asyncio.sleep(0.5)
        waits = (3.0, 7.0, 0.2)
        rest = [batcher.submit(DETECT, images_of(1 + i, 1), timeout_seconds=wait) for i, wait in enumerate(waits)]
        answers = [identities(batched) for batched in await asyncio.gather(*rest)]
        assert answers == [own(1, 1), own(2, 1), ["deadline_exceeded"]]
        await first
        assert deadlines == [pytest.approx(1000), pytest.approx(7.5)]

    run(main())


@pytest.mark.parametrize(
    ("text", "priority"),
    [
        ("interactive", INTERACTIVE),
        ("Bulk", BULK),
        (" bulk ", BULK),
        ("u=1, i", INTERACTIVE),
        ("i", INTERACTIVE),
        ("u=3", INTERACTIVE),
        ("u=4", BULK),
        ("i, u=7", BULK),
    ],
)
def test_a_priority_has_a_name_or_is_what_browsers_say(text: str, priority: Priority) -> None:
    assert Priority.parse(text) is priority


@pytest.mark.parametrize(
    "text", ["urgent", "u=8", "u=-1", "u", "", "1", "bulk=1", "u=\N{FULLWIDTH DIGIT ONE}", "x" * 9999]
)
def test_no_other_priority_is_taken(text: str) -> None:
    with pytest.raises(InvalidOption, match="interactive or bulk") as error:
        Priority.parse(text)
    assert len(str(error.value)) < 200

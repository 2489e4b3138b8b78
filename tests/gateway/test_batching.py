from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence

import pytest

from gateway.batching import Batcher
from gateway.queueing.batch_limits import BatchLimits
from gateway.queueing.ticket import Batched
from gateway.tritons.tagger import Wanted
from reeltag.errors import DeadlineExceeded, Overloaded, ReeltagError, ServiceError, TritonUnavailable
from reeltag.triton import ImageOutputs
from tests.gateway.clock import run
from tests.gateway.numbered import CLASSIFY, DETECT, Triton, identities, images_of, own

LIMITS = BatchLimits(max_images=4, max_delay_seconds=0.01, max_inflight=2, max_waiting=64, timeout_seconds=100)


def test_a_lone_client_never_waits() -> None:
    async def main() -> None:
        triton = Triton()
        batcher = Batcher(triton.infer, LIMITS)
        for request in range(5):
            batched = await batcher.submit(DETECT, images_of(request, 1))
            assert identities(batched) == own(request, 1)
            assert batched.queue_seconds == 0
            assert batched.triton_seconds == pytest.approx(1)
        assert triton.sizes == [1] * 5

    run(main())


def test_a_second_image_waits_for_company_but_not_longer_than_the_delay() -> None:
    async def main() -> None:
        triton = Triton()
        batcher = Batcher(triton.infer, LIMITS)
        answers = await asyncio.gather(*(batcher.submit(DETECT, images_of(request, 1)) for request in range(3)))
        assert [identities(answer) for answer in answers] == [own(request, 1) for request in range(3)]
        assert triton.sizes == [1, 2]
        assert triton.batches[1][0] == pytest.approx(LIMITS.max_delay_seconds)

    run(main())


def test_a_full_batch_leaves_at_once() -> None:
    async def main() -> None:
        triton = Triton()
        batcher = Batcher(triton.infer, LIMITS)
        await asyncio.gather(*(batcher.submit(DETECT, images_of(request, 1)) for request in range(5)))
        assert [(start, len(images)) for start, _, images in triton.batches] == [(0, 1), (0, 4)]

    run(main())


def test_batches_fill_up_while_triton_is_busy() -> None:
    async def client(batcher: Batcher, request: int) -> None:
        for _ in range(20):
            assert identities(await batcher.submit(DETECT, images_of(request, 1))) == own(request, 1)

    async def main(clients: int, seconds: float) -> float:
        triton = Triton(seconds)
        batcher = Batcher(triton.infer, LIMITS)
        await asyncio.gather(*(client(batcher, request) for request in range(clients)))
        assert sum(triton.sizes) == clients * 20
        return clients * 20 / len(triton.sizes)

    assert run(main(clients=16, seconds=0.05)) > 3.7
    assert run(main(clients=4, seconds=0.05)) > 1.9
    assert run(main(clients=1, seconds=0.05)) == 1


def test_the_clients_of_a_batch_are_waited_for_when_triton_is_idle() -> None:
    async def main() -> None:
        triton = Triton(0.05)
        batcher = Batcher(triton.infer, BatchLimits(4, 0.01, 1, 64, 100))
        await batcher.submit(DETECT, images_of(0, 3))
        await asyncio.gather(*(batcher.submit(DETECT, images_of(request, 1)) for request in range(3)))
        assert triton.sizes == [3, 3]
        assert (await batcher.submit(DETECT, images_of(0, 1))).queue_seconds == pytest.approx(0.01)
        assert (await batcher.submit(DETECT, images_of(0, 1))).queue_seconds == 0

    run(main())


@pytest.mark.parametrize(
    ("images", "sizes"), [(1, [1]), (5, [5]), (8, [4, 4]), (9, [4, 5]), (11, [5, 6]), (12, [4, 4, 4]), (24, [8, 8, 8])]
)
def test_a_request_is_dealt_out_to_idle_instances(images: int, sizes: list[int]) -> None:
    async def main() -> None:
        triton = Triton()
        batcher = Batcher(triton.infer, BatchLimits(8, 0.01, 9, 64, 100, instances=3))
        answers = await batcher.submit(DETECT, images_of(0, images))
        assert identities(answers) == own(0, images)
        assert triton.sizes == sizes
        assert {start for start, _, _ in triton.batches} == {0}

    run(main())


@pytest.mark.parametrize(("clients", "instances", "batch"), [(8, 2, 4), (32, 14, 3), (64, 2, 8), (2, 2, 1)])
def test_clients_are_shared_out_among_the_instances(clients: int, instances: int, batch: int) -> None:
    """Each comes back a little after its answer, as over a network; no instance stands idle while others have two."""

    async def client(batcher: Batcher, request: int, chance: random.Random) -> None:
        for _ in range(30):
            assert identities(await batcher.submit(DETECT, images_of(request, 1))) == own(request, 1)
            await asyncio.sleep(chance.uniform(0, 0.004))

    async def main() -> None:
        triton, chance = Triton(0.05), random.Random(7)
        batcher = Batcher(triton.infer, BatchLimits(8, 0.004, 3 * instances, 256, 100, instances=instances))
        await asyncio.gather(*(client(batcher, request, chance) for request in range(clients)))
        late = triton.sizes[len(triton.sizes) // 3 :]
        assert 0.6 * batch <= sum(late) / len(late) <= 1.25 * batch, "the rest leaves when its delay is over"

    run(main())


def test_a_large_request_is_split_and_small_ones_are_merged() -> None:
    async def main() -> None:
        triton = Triton()
        batcher = Batcher(triton.infer, LIMITS)
        counts = [9, 2, 1]
        answers = await asyncio.gather(*(batcher.submit(DETECT, images_of(r, n)) for r, n in enumerate(counts)))
        assert [identities(answer) for answer in answers] == [own(r, n) for r, n in enumerate(counts)]
        assert triton.sizes == [4, 4, 4]

    run(main())


def test_one_image_does_not_wait_for_the_many_of_other_requests() -> None:
    async def later(batcher: Batcher, wanted: Wanted, request: int) -> float:
        await asyncio.sleep(0.5)
        return (await batcher.submit(wanted, images_of(request, 1))).queue_seconds

    async def main() -> None:
        triton = Triton()
        batcher = Batcher(triton.infer, BatchLimits(4, 0.01, 1, 1000, 1000))
        many = [asyncio.ensure_future(batcher.submit(DETECT, images_of(request, 32))) for request in range(4)]
        ones = await asyncio.gather(later(batcher, DETECT, 8), later(batcher, CLASSIFY, 9))
        assert max(ones) < 3, "they are in the next batches, each of which takes a second"
        assert [identities(answer) for answer in await asyncio.gather(*many)] == [own(r, 32) for r in range(4)]
        assert sum(triton.sizes) == 4 * 32 + 2
        assert len(triton.sizes) <= 4 * 32 / 4 + 2

    run(main())


def test_a_form_does_not_wait_for_clients_who_come_back_again_and_again() -> None:
    async def main() -> None:
        batcher = Batcher(Triton().infer, BatchLimits(8, 0.01, 1, 1000, 1000))

        async def client(number: int) -> None:
            while True:
                await batcher.submit(DETECT, images_of(number, 1))

        clients = [asyncio.ensure_future(client(number)) for number in range(64)]
        await asyncio.sleep(3)
        form = await batcher.submit(DETECT, images_of(100, 8))
        # A batch of 8 takes a second: 64 clients are before it, and its last image is 56 places behind its first.
        assert form.queue_seconds < (64 + 56) / 8 + 2
        for each in clients:
            each.cancel()
        await asyncio.gather(*clients, return_exceptions=True)

    run(main())


def test_different_tasks_do_not_share_a_batch_and_the_oldest_goes_first() -> None:
    async def main() -> None:
        triton = Triton()
        batcher = Batcher(triton.infer, BatchLimits(4, 0.01, 1, 64, 100))
        tasks = [DETECT, CLASSIFY, DETECT, CLASSIFY]
        await asyncio.gather(*(batcher.submit(t, images_of(r, 1)) for r, t in enumerate(tasks)))
        assert [(of, images) for _, of, images in triton.batches] == [
            (DETECT, [b"0:0"]),
            (CLASSIFY, [b"1:0", b"3:0"]),
            (DETECT, [b"2:0"]),
        ]

    run(main())


def test_a_bounded_queue_refuses_and_then_takes_again() -> None:
    async def main() -> None:
        batcher = Batcher(Triton().infer, BatchLimits(4, 0.01, 1, 6, 100))
        first = [asyncio.create_task(batcher.submit(DETECT, images_of(r, 5))) for r in range(2)]
        await asyncio.sleep(0)
        assert (batcher.inflight, batcher.waiting) == (1, 6)
        with pytest.raises(Overloaded, match="6 images wait"):
            await batcher.submit(DETECT, images_of(2, 1))
        await asyncio.gather(*first)
        assert identities(await batcher.submit(DETECT, images_of(3, 6))) == own(3, 6)

    run(main())


def test_a_cancelled_request_is_dropped_without_harm_to_its_batch() -> None:
    async def main() -> None:
        triton = Triton()
        batcher = Batcher(triton.infer, BatchLimits(4, 0.01, 1, 64, 100))
        requests = [asyncio.create_task(batcher.submit(DETECT, images_of(r, 2))) for r in range(4)]
        await asyncio.sleep(0.5)
        requests[0].cancel()  # in flight
        requests[2].cancel()  # waiting
        await asyncio.sleep(0)
        assert batcher.waiting == 4
        assert identities(await requests[1]) == own(1, 2)
        assert identities(await requests[3]) == own(3, 2)
        sent = [sorted(images) for _, _, images in triton.batches]
        assert sent == [images_of(0, 2), images_of(1, 2) + images_of(3, 2)]
        assert (batcher.inflight, batcher.waiting) == (0, 0)

    run(main())


@pytest.mark.parametrize("error", [TritonUnavailable("down"), ZeroDivisionError("ours")])
def test_an_error_reaches_exactly_its_batch(error: Exception) -> None:
    async def main() -> None:
        triton = Triton(error=error)
        batcher = Batcher(triton.infer, BatchLimits(4, 0.01, 1, 64, 100))
        requests = [asyncio.create_task(batcher.submit(DETECT, images_of(r, 2))) for r in range(3)]
        await asyncio.sleep(0.5)
        asyncio.get_running_loop().call_later(1, setattr, triton, "error", None)
        outcomes = await asyncio.gather(*requests, return_exceptions=True)
        if isinstance(error, ReeltagError):
            assert isinstance(outcomes[0], Batched)
            assert identities(outcomes[0]) == ["triton_unavailable"] * 2
        else:
            assert outcomes[0] is error
        for request in (1, 2):
            outcome = outcomes[request]
            assert isinstance(outcome, Batched)
            assert identities(outcome) == own(request, 2)

    run(main())


def test_a_wrong_number_of_answers_is_an_error_and_not_a_wait_for_ever() -> None:
    async def infer(wanted: Wanted, images: Sequence[bytes], deadline: float) -> list[ImageOutputs]:
        return [ImageOutputs(1, 1, {}, {})] * (len(images) - 1)

    async def main() -> None:
        with pytest.raises(RuntimeError, match="1 answers to 2 images"):
            await Batcher(infer, LIMITS).submit(DETECT, images_of(0, 2))

    run(main())


def test_what_is_not_answered_in_time_is_given_up_and_the_rest_is_kept() -> None:
    async def main() -> None:
        triton = Triton(3.0)
        batcher = Batcher(triton.infer, BatchLimits(2, 0.01, 1, 64, timeout_seconds=5))
        batched = await batcher.submit(DETECT, images_of(0, 6))
        assert identities(batched) == [(0, 0), (0, 1)] + ["deadline_exceeded"] * 4
        assert isinstance(batched.answers[2], DeadlineExceeded)
        assert batcher.waiting == 0
        await batcher.close(10)
        assert triton.sizes == [2, 2], "the last two were withdrawn before they were sent"

    run(main())


def test_bytes_fill_a_batch_too_and_no_more_than_two_such_are_sent_at_once() -> None:
    async def main() -> None:
        triton = Triton()
        batcher = Batcher(triton.infer, BatchLimits(4, 0.01, 8, 64, 100, max_bytes=100))
        sizes = [3, 60, 60, 3, 3, 60, 3, 3, 1000, 90, 90]
        images = [b"0:%d" % index + b" " * (size - len(b"0:%d" % index)) for index, size in enumerate(sizes)]
        assert identities(await batcher.submit(DETECT, images)) == own(0, len(sizes))
        assert [[len(image) for image in images] for _, _, images in triton.batches] == [
            [3, 60],
            [60, 3, 3],
            [60, 3, 3],
            [1000],
            [90],
            [90],
        ]
        starts = [start for start, _, _ in triton.batches]
        assert [round(start) for start in starts] == [0, 0, 1, 1, 2, 2]

    run(main())


@pytest.mark.parametrize(("seconds", "waits"), [(0.01, 1), (1.0, 9), (2.0, 18), (100.0, 60)])
def test_who_is_refused_hears_when_the_queue_will_be_done(seconds: float, waits: int) -> None:
    async def main() -> None:
        batcher = Batcher(Triton(seconds).infer, BatchLimits(4, 0.001, 2, 64, 10_000))
        clients = [asyncio.create_task(batcher.submit(DETECT, images_of(r, 4))) for r in range(18)]
        for _ in range(5):
            await asyncio.sleep(seconds * 1.001)
            clients += [asyncio.create_task(batcher.submit(DETECT, images_of(r, 4))) for r in range(2)]
            await asyncio.sleep(0)
        assert (batcher.waiting, batcher.inflight) == (64, 2)
        with pytest.raises(Overloaded) as refused:
            batcher.admit(1)
        assert refused.value.retry_after_seconds == pytest.approx(waits, abs=1)  # 72 images, 8 in `seconds`
        await batcher.close(10_000)
        assert {len(batched.answers) for batched in await asyncio.gather(*clients)} == {4}

    run(main())


def test_who_is_given_up_hears_when_the_queue_will_be_done() -> None:
    async def main() -> None:
        batcher = Batcher(Triton(1000).infer, BatchLimits(4, 0.01, 1, 64, timeout_seconds=20))
        batched = await batcher.submit(DETECT, images_of(0, 1))
        (late,) = batched.answers
        assert isinstance(late, DeadlineExceeded)
        assert late.retry_after_seconds == pytest.approx(10, abs=2), "as long again as was waited for, of late"

    run(main())


def test_close_sends_what_waits_and_refuses_new_ones() -> None:
    async def main() -> None:
        triton = Triton()
        batcher = Batcher(triton.infer, BatchLimits(4, 0.01, 1, 64, 100))
        requests = [asyncio.create_task(batcher.submit(DETECT, images_of(r, 3))) for r in range(3)]
        await asyncio.sleep(0)
        await batcher.close(10)
        assert [identities(await r) for r in requests] == [own(request, 3) for request in range(3)]
        with pytest.raises(ServiceError, match="shutting down"):
            await batcher.submit(DETECT, images_of(9, 1))

    run(main())


def test_close_gives_up_on_a_triton_that_hangs() -> None:
    async def main() -> None:
        batcher = Batcher(Triton(10_000).infer, BatchLimits(4, 0.01, 1, 64, 1000))
        requests = [asyncio.create_task(batcher.submit(DETECT, images_of(r, 4))) for r in range(2)]
        await asyncio.sleep(0)
        await batcher.close(2)
        assert asyncio.get_running_loop().time() == pytest.approx(2)
        assert [identities(await r) for r in requests] == [["service_error"] * 4] * 2
        assert (batcher.inflight, batcher.waiting) == (0, 0)

    run(main())


def test_a_storm_of_cancellations_leaves_nothing_behind() -> None:
    async def main() -> None:
        triton = Triton(0.02)
        batcher = Batcher(triton.infer, BatchLimits(8, 0.005, 2, 10_000, 100))
        rng = random.Random(1)
        requests = []
        for request in range(2000):
            requests.append(asyncio.create_task(batcher.submit(DETECT, images_of(request, 1))))
            if rng.random() < 0.5:
                await asyncio.sleep(0.001)
            rng.choice(requests[-40:]).cancel()
        outcomes = await asyncio.gather(*requests, return_exceptions=True)
        kept = {request: outcome for request, outcome in enumerate(outcomes) if isinstance(outcome, Batched)}
        assert all(identities(batched) == own(request, 1) for request, batched in kept.items())
        assert len(kept) > 200
        assert sum(isinstance(outcome, asyncio.CancelledError) for outcome in outcomes) == 2000 - len(kept)
        assert batcher.waiting == 0
        await batcher.close(1)
        assert batcher.inflight == 0

    run(main())

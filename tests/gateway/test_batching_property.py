from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from gateway.batching import Batcher
from gateway.queueing.batch_limits import BatchLimits
from gateway.queueing.ticket import Batched
from gateway.tritons.tagger import Wanted
from reeltag.errors import TritonUnavailable
from reeltag.triton import ImageOutputs
from tests.gateway.clock import run
from tests.gateway.numbered import BOTH, CLASSIFY, DETECT, Triton, identities, images_of


@dataclass(frozen=True)
class Plan:
    """One request of the property test; times in milliseconds."""

    wanted: Wanted
    images: int
    start: int
    cancel_after: int | None


PLANS = st.lists(
    st.builds(
        Plan,
        st.sampled_from([DETECT, CLASSIFY, BOTH, BOTH._replace(class_maps=True)]),
        st.integers(1, 9),
        st.integers(0, 60),
        st.none() | st.integers(0, 40),
    ),
    min_size=1,
    max_size=25,
)


@dataclass
class UnsteadyTriton(Triton):
    """Takes between 0 and 30 ms, fails now and then, and checks what it is given."""

    rng: random.Random = field(default_factory=random.Random)
    plans: Sequence[Plan] = ()
    running: int = 0
    most_running: int = 0
    failed: dict[bytes, Exception] = field(default_factory=dict)

    async def infer(self, wanted: Wanted, images: Sequence[bytes], deadline: float) -> list[ImageOutputs]:
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        self.seconds = self.rng.random() * 0.03
        error = self.rng.choice([None] * 6 + [TritonUnavailable("down"), ZeroDivisionError("ours")])
        try:
            answers = await super().infer(wanted, images, deadline)
            if error is not None:
                self.failed.update(dict.fromkeys(images, error))
                raise error
            return answers
        finally:
            self.running -= 1


@hypothesis_settings(max_examples=150, deadline=None)
@given(plans=PLANS, seed=st.integers(0, 2**16), size=st.integers(1, 6), inflight=st.integers(1, 3))
def test_every_image_gets_exactly_its_own_answer(plans: list[Plan], seed: int, size: int, inflight: int) -> None:
    triton = UnsteadyTriton(rng=random.Random(seed), plans=plans)
    cancelled_at: dict[int, float] = {}

    async def request(batcher: Batcher, number: int, plan: Plan) -> Batched | BaseException:
        await asyncio.sleep(plan.start / 1000)
        work = asyncio.ensure_future(batcher.submit(plan.wanted, images_of(number, plan.images)))
        if plan.cancel_after is not None:
            await asyncio.sleep(plan.cancel_after / 1000)
            if work.cancel():
                cancelled_at[number] = asyncio.get_running_loop().time()
        return (await asyncio.gather(work, return_exceptions=True))[0]

    async def main() -> list[Batched | BaseException]:
        batcher = Batcher(triton.infer, BatchLimits(size, 0.004, inflight, 1000, 100))
        outcomes = await asyncio.gather(*(request(batcher, number, plan) for number, plan in enumerate(plans)))
        assert batcher.waiting == 0
        await batcher.close(1)
        assert batcher.inflight == 0
        return outcomes

    outcomes = run(main())
    sent = [image for _, _, images in triton.batches for image in images]
    assert len(sent) == len(set(sent)), "no image is sent twice"
    assert max(triton.sizes, default=0) <= size
    assert triton.most_running <= inflight
    for start, wanted, images in triton.batches:
        for number in {int(image.split(b":")[0]) for image in images}:
            assert plans[number].wanted == wanted
            assert start <= cancelled_at.get(number, start), "nothing is sent for a request that was cancelled"
    for number, (plan, outcome) in enumerate(zip(plans, outcomes, strict=True)):
        if isinstance(outcome, asyncio.CancelledError):
            assert number in cancelled_at
            continue
        expected: list[tuple[int, int] | str] = [
            "triton_unavailable" if image in triton.failed else (number, index)
            for index, image in enumerate(images_of(number, plan.images))
        ]
        if isinstance(outcome, ZeroDivisionError):
            assert any(triton.failed.get(image) is outcome for image in images_of(number, plan.images))
        else:
            assert isinstance(outcome, Batched)
            assert identities(outcome) == expected

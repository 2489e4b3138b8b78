from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

from vod.jobs.gate import Gate


def test_who_wants_to_be_alone_is_and_others_come_after() -> None:
    gate, release, order = Gate(threading.Event()), threading.Event(), list[str]()
    inside = threading.Event()

    def first() -> None:
        with gate.entered(alone=False):
            inside.set()
            release.wait(10)
            order.append("first")

    def alone() -> None:
        with gate.entered(alone=True):
            order.append("alone")

    def later() -> None:
        with gate.entered(alone=False):
            order.append("later")

    with ThreadPoolExecutor(3) as pool:
        pool.submit(first)
        assert inside.wait(10)
        waiting = pool.submit(alone)
        while not gate._waiting:
            pass
        last = pool.submit(later)
        assert not waiting.done()
        release.set()
        waiting.result(10)
        last.result(10)
    assert order == ["first", "alone", "later"]


def test_nobody_is_let_in_when_the_worker_ends() -> None:
    stopping = threading.Event()
    gate = Gate(stopping)
    with gate.entered(alone=True) as is_in:
        assert is_in
        stopping.set()
        with gate.entered(alone=False) as is_in_too:
            assert not is_in_too
    with gate.entered(alone=False) as is_in:
        assert is_in, "what nobody keeps out comes in"

"""Progress of work that may take minutes, and cancellation of a TensorRT build.

Needs TensorRT's progress monitors, which came with 8.6; without them a build cannot be cancelled half way.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from types import FrameType
from typing import Any, TypeVar

Progress = Callable[[str, int, int], None]
"""Called with the builder's phase, its finished steps and all its steps; what it raises cancels the build."""

Item = TypeVar("Item")


def told(items: Iterable[Item], phase: str, count: int, progress: Progress | None) -> Iterator[Item]:
    """The items, while `progress` is told how many of `count` are done."""
    for done, item in enumerate(items):
        if progress is not None:
            progress(phase, done, count)
        yield item
    if progress is not None:
        progress(phase, count, count)


@contextmanager
def cancellable(trt: Any, config: Any, progress: Progress | None) -> Iterator[None]:
    """Cancel the build inside on Ctrl-C or when `progress` raises, and raise that once the builder has returned.

    An exception must not leave a callback that C++ called, and Python raises KeyboardInterrupt before the callback's
    first line; so Ctrl-C only sets a flag here. A second one acts as ever.
    """
    reasons: list[BaseException] = []
    # The builder does not keep its monitor alive; this name does.
    monitor = _monitor(trt, reasons, progress) if hasattr(trt, "IProgressMonitor") else None
    if monitor is not None:
        config.progress_monitor = monitor
    in_main_thread = threading.current_thread() is threading.main_thread()
    with _ctrl_c_noted(reasons) if in_main_thread else nullcontext():
        yield
    if reasons:
        raise reasons[0]


@contextmanager
def _ctrl_c_noted(reasons: list[BaseException]) -> Iterator[None]:
    previous = signal.getsignal(signal.SIGINT)

    def note(_number: int, _frame: FrameType | None) -> None:
        reasons.append(KeyboardInterrupt())
        signal.signal(signal.SIGINT, previous)

    signal.signal(signal.SIGINT, note)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)


def _monitor(trt: Any, reasons: list[BaseException], progress: Progress | None) -> Any:
    steps: dict[str, int] = {}

    def tell(phase: str, done: int) -> None:
        if progress is not None and not reasons:
            try:
                progress(phase, done, steps.get(phase, 0))
            except BaseException as error:
                reasons.append(error)

    base: Any = trt.IProgressMonitor

    class Monitor(base):  # type: ignore[misc]  # the base class is known at run time only
        def __init__(self) -> None:
            base.__init__(self)

        def phase_start(self, phase: str, parent: str | None, step_count: int) -> None:
            steps[phase] = step_count
            tell(phase, 0)

        def step_complete(self, phase: str, step: int) -> bool:
            tell(phase, step + 1)
            return not reasons

        def phase_finish(self, phase: str) -> None:
            tell(phase, steps.get(phase, 0))

    return Monitor()

"""The pool that decodes, as it is published: real processes, real pictures, real kills."""

from __future__ import annotations

import contextlib
import functools
import importlib
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import psutil
import pytest
from PIL import Image

from benchmarks import hostile_files
from benchmarks.hostile_files import bmp, jpeg
from reeltag.frames import Pixels, View, decode_views
from tests.reeltag.test_formats import FILES
from tests.reeltag.test_frames import encoded, picture

NAMES = ["LETTERBOX_416X416_PAD114", "CENTER_CROP_224X224_PAD0"]
VIEWS = [View.parse(name) for name in NAMES]
SHAPES = [(view.height, view.width, 3) for view in VIEWS]
SMALL = encoded(picture(), "JPEG")
png = functools.cache(hostile_files.png)


@pytest.fixture(scope="module")
def backend(model_repository: Path) -> Iterator[ModuleType]:
    """`pool.py` in the folder that Triton serves."""
    folder = str(model_repository / "decode" / "1")
    sys.path.insert(0, folder)
    try:
        yield importlib.import_module("pool")
    finally:
        sys.path.remove(folder)


def limits(**changed: float) -> Any:
    return importlib.import_module("messages").Limits(**changed)


@pytest.fixture
def open_pool(backend: ModuleType) -> Iterator[Callable[..., Any]]:
    """Makes pools, and sees to it that none of their processes is left."""
    with contextlib.ExitStack() as stack:

        def make(workers: int = 2, **changed: float) -> Any:
            pool = backend.Pool(NAMES, SHAPES, workers=workers, limits=limits(**changed))
            stack.callback(pool.close)
            return pool

        yield make
    assert processes() == []


def processes() -> list[psutil.Process]:
    """The nursery, then the workers."""
    nurseries = [p for p in psutil.Process().children() if any(part.endswith("worker.py") for part in p.cmdline())]
    return [p for nursery in nurseries for p in (nursery, *nursery.children())]


class Asked:
    """Pictures that were handed in at one time, and what became of them."""

    def __init__(self, pool: Any, files: Sequence[bytes], views: Sequence[int] = (0, 1), until: float = np.inf) -> None:
        picture_type = sys.modules[type(pool).__module__].Picture
        self.outs = [[np.full(SHAPES[view], 99, np.uint8) for view in views] for _ in files]
        self.results: list[Any] = [None] * len(files)
        self.order: list[int] = []
        self._left = threading.Semaphore(0)
        pool.submit(
            [picture_type(file, views, self.outs[i], self._done(i), until=until) for i, file in enumerate(files)]
        )

    def _done(self, index: int) -> Callable[[Any], None]:
        def done(result: Any) -> None:
            assert self.results[index] is None, "a picture is done once"
            self.results[index] = result
            self.order.append(index)
            self._left.release()

        return done

    def wait(self, count: int | None = None) -> Asked:
        for _ in range(len(self.results) if count is None else count):
            assert self._left.acquire(timeout=60)
        return self

    @property
    def codes(self) -> list[str]:
        return [result.partition(":")[0] if isinstance(result, str) else "ok" for result in self.results]


def busy_worker(within: float = 10) -> psutil.Process:
    """A worker that has computed for a while."""
    end = time.monotonic() + within
    while time.monotonic() < end:
        for worker in processes()[1:]:
            with contextlib.suppress(psutil.Error):
                if sum(worker.cpu_times()[:2]) > 0.15:
                    return worker
        time.sleep(0.01)
    raise AssertionError("no worker is busy")


def slow() -> bytes:
    """Some tenths of a second of work."""
    return png(4096)


def test_pixels_and_geometry_are_those_of_one_process(open_pool: Callable[..., Any]) -> None:
    files = [*FILES.values(), encoded(picture(1280, 720), "JPEG")]
    asked = Asked(open_pool(), files).wait()
    for file, outs, result in zip(files, asked.outs, asked.results, strict=True):
        expected: list[Pixels] = [np.zeros(shape, np.uint8) for shape in SHAPES]
        geometry = decode_views(file, VIEWS, expected)
        for of_view, out, pixels, as_said in zip(geometry, outs, expected, result, strict=True):
            np.testing.assert_array_equal(out, pixels)
            np.testing.assert_array_equal(as_said, of_view.to_array())


def test_only_the_wanted_views_are_filled(open_pool: Callable[..., Any]) -> None:
    asked = Asked(open_pool(), [SMALL], views=[1]).wait()
    expected = [np.zeros(shape, np.uint8) for shape in SHAPES]
    decode_views(SMALL, VIEWS, expected)
    np.testing.assert_array_equal(asked.outs[0][0], expected[1])
    assert len(asked.results[0]) == 1


def test_files_of_any_size_follow_each_other(open_pool: Callable[..., Any]) -> None:
    large = SMALL + bytes(9 << 20)
    pool = open_pool(workers=1)
    for file in (SMALL, large, SMALL, large):
        asked = Asked(pool, [file]).wait()
        assert asked.codes == ["ok"]
        assert asked.outs[0][0][200, 100].tolist() != [99, 99, 99]


def test_a_bad_picture_fails_alone(open_pool: Callable[..., Any]) -> None:
    asked = Asked(open_pool(), [SMALL, b"", b"no image", SMALL[:300], jpeg(scans=3000), SMALL]).wait()
    assert asked.codes == ["ok", "empty", "not_an_image", "truncated", "too_costly", "ok"]


def test_a_picture_over_its_time_fails_alone_and_its_worker_is_replaced(open_pool: Callable[..., Any]) -> None:
    pool = open_pool(workers=1, large_seconds=0.2)
    asked = Asked(pool, [png(), SMALL, SMALL]).wait()
    assert asked.codes == ["too_costly", "ok", "ok"]
    assert "processor time" in asked.results[0]
    assert Asked(pool, [png(depth=1, colours=0), SMALL]).wait().codes == ["too_costly", "ok"]


def test_a_picture_over_its_memory_fails_alone_and_its_worker_stays(open_pool: Callable[..., Any]) -> None:
    pool = open_pool(workers=1, large_bytes=32 << 20)
    webp = encoded(picture(4000, 4000), "WEBP", method=0)
    of_each_decoder = [png(), bmp(8192, 8192, b"\0\2\0\x80" * 63 + b"\0\1"), webp]
    asked = Asked(pool, [*of_each_decoder, SMALL]).wait()
    assert asked.codes == ["too_costly", "too_costly", "too_costly", "ok"]
    assert "32 MiB" in asked.results[0]


def test_large_pictures_do_not_keep_ordinary_ones_waiting(open_pool: Callable[..., Any]) -> None:
    asked = Asked(open_pool(workers=1), [slow(), slow(), *[SMALL] * 20]).wait()
    assert asked.codes == ["ok"] * 22
    assert set(asked.order[:20]) == set(range(2, 22))


def test_large_pictures_are_decoded_beside_each_other_as_memory_allows(open_pool: Callable[..., Any]) -> None:
    pool = open_pool(workers=4)
    asked = Asked(pool, [slow()] * 4)
    busy_worker()
    time.sleep(0.3)
    assert len(processes()) > 3, "117 MB each: several at one time"
    assert asked.wait().codes == ["ok"] * 4


def test_what_nobody_waits_for_any_more_is_ended(open_pool: Callable[..., Any]) -> None:
    pool = open_pool(workers=1)
    Asked(pool, [SMALL]).wait()
    began = time.monotonic()
    asked = Asked(pool, [png()] * 3, until=began + 0.3).wait()
    assert asked.codes == ["deadline_exceeded"] * 3
    assert time.monotonic() - began < 5, "three pictures of more than a second each"
    assert Asked(pool, [SMALL]).wait().codes == ["ok"]
    before = sum(sum(worker.cpu_times()[:2]) for worker in processes())
    time.sleep(0.5)
    assert sum(sum(worker.cpu_times()[:2]) for worker in processes()) - before < 0.2, "nobody works on"


def test_a_worker_that_is_killed_loses_no_picture(open_pool: Callable[..., Any]) -> None:
    pool = open_pool(workers=1)
    asked = Asked(pool, [png(depth=1, colours=0), *[SMALL] * 5])
    busy_worker().kill()
    assert asked.wait().codes == ["ok"] * 6


def test_a_worker_that_is_stopped_loses_no_picture(open_pool: Callable[..., Any]) -> None:
    pool = open_pool(workers=1, ordinary_wall_seconds=0.5, large_wall_seconds=30)
    Asked(pool, [SMALL] * 2).wait()
    stopped = processes()[1:]
    for worker in stopped:
        worker.suspend()
    assert Asked(pool, [SMALL] * 4).wait().codes == ["ok"] * 4
    assert not any(worker.is_running() and worker.status() != psutil.STATUS_ZOMBIE for worker in stopped)


def test_an_idle_worker_that_is_killed_is_replaced(open_pool: Callable[..., Any]) -> None:
    pool = open_pool(workers=1)
    Asked(pool, [SMALL]).wait()
    for worker in processes()[1:]:
        worker.kill()
    assert Asked(pool, [SMALL] * 3).wait().codes == ["ok"] * 3


def test_a_nursery_that_is_killed_loses_no_picture(open_pool: Callable[..., Any]) -> None:
    pool = open_pool(workers=1)
    asked = Asked(pool, [png(depth=1, colours=0), *[SMALL] * 5])
    busy_worker()
    processes()[0].kill()
    assert asked.wait().codes == ["ok"] * 6


def test_a_picture_that_its_workers_die_of_fails_alone(open_pool: Callable[..., Any]) -> None:
    pool = open_pool(workers=1)
    asked = Asked(pool, [png(), SMALL])
    for _ in range(2):
        victim = busy_worker()
        victim.send_signal(signal.SIGSEGV)
        victim.wait(10)
    assert asked.wait().codes == ["truncated", "ok"]
    assert str(-signal.SIGSEGV) in asked.results[0]


def test_a_worker_that_keeps_too_much_memory_is_replaced(open_pool: Callable[..., Any]) -> None:
    pool = open_pool(workers=1, kept_bytes=-(1 << 30))
    Asked(pool, [slow()]).wait()
    first = {worker.pid for worker in processes()[1:]}
    assert Asked(pool, [slow()]).wait().codes == ["ok"]
    assert not first & {worker.pid for worker in processes()[1:]}


def test_memory_after_thousands_of_damaged_pictures_is_bounded(open_pool: Callable[..., Any]) -> None:
    rng = np.random.default_rng(0)
    whole = [encoded(Image.fromarray(rng.integers(0, 255, (90, 120, 3), np.uint8)), f) for f in ("JPEG", "PNG", "WEBP")]
    pool = open_pool(workers=1)
    Asked(pool, whole).wait()
    before = max(worker.memory_info().rss for worker in processes())
    for _ in range(10):
        damaged = []
        for file in whole * 40:
            data = bytearray(file)
            data[int(rng.integers(20, len(data)))] ^= 0x55
            damaged.append(bytes(data[: rng.integers(len(data) // 2, len(data))]))
        Asked(pool, damaged).wait()
    assert max(worker.memory_info().rss for worker in processes()) < before + (48 << 20)


def test_nothing_outlives_a_process_that_is_killed(model_repository: Path) -> None:
    shared_before = set(Path("/dev/shm").iterdir())
    code = f"""
import sys, time
sys.path.insert(0, {str(model_repository / "decode" / "1")!r})
import numpy as np, pool
p = pool.Pool({NAMES!r}, {SHAPES!r}, workers=2)
file = open({str(_written(model_repository))!r}, "rb").read()
outs = [np.zeros(s, np.uint8) for s in {SHAPES!r}]
p.submit([pool.Picture(file, (0, 1), outs, print) for _ in range(3)])
time.sleep(0.7)
print("ready", flush=True)
time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == "ready\n"
        family = psutil.Process(owner.pid).children(recursive=True)
        assert len(family) >= 2
        owner.kill()
    _, alive = psutil.wait_procs(family, timeout=10)
    assert alive == []
    assert {path for path in set(Path("/dev/shm").iterdir()) - shared_before if "decode" in path.name} == set()


def _written(folder: Path) -> Path:
    path = folder.parent / "slow.png"
    path.write_bytes(png())
    return path

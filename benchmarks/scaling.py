"""What more cores bring: images and seconds of video a second, and who takes the processor time.

Run it with `python -m benchmarks.scaling`. For each number of cores it starts `reeltag serve` on the first ones and the
load on the others, and compares with as many bare processes of two cores as fit on the same cores. Where no core is
left for the load, it shares those of the server. Pictures and video are drawn, so that no package registry is needed.
It prints a table and writes `scaling.json` and `scaling.png`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import importlib
import importlib.util
import json
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from benchmarks import drawn, generator
from benchmarks.load import ensemble_request, loaded
from benchmarks.processor_time import ProcessorTime
from benchmarks.server import Served, serving
from benchmarks.throughput import machine
from reeltag.settings import Settings, load_settings
from reeltag.triton import TritonClient
from reeltag.tuning.pictures import jpegs

CLIENTS_A_CORE: Final = 32
"""More than the batches that are under way hold, so that it is the server that is measured."""
CORES_A_BARE: Final = 2


@dataclass(frozen=True)
class Plan:
    """What is measured."""

    seconds: float
    """Of a measurement of images."""
    video_seconds: float
    """Of each video; 0 for none."""
    pictures: Path
    """Folder of JPEGs."""
    video: Path


@dataclass(frozen=True)
class Step:
    """What a number of cores came to."""

    cores: int
    load_is_apart: bool
    """Whether the load had other cores."""
    bare_images: float
    """Images a second of all bare processes together."""
    gateway_images: float
    ensemble_images: float
    shares: dict[str, float] = field(default_factory=dict)
    """Of the processor time that these cores have, by process, under the load of images."""
    bare_video: float = 0.0
    """Seconds of video a second of all bare processes together."""
    tagged_video: float = 0.0
    video_shares: dict[str, float] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    """Instances, threads and so on of the server."""


@contextlib.contextmanager
def on(cores: Sequence[int]) -> Iterator[None]:
    """Let what is started in the block run on these cores alone."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def step(cores: Sequence[int], others: Sequence[int], plan: Plan) -> Step:
    """Measure on some cores, with the load on others where there are any."""
    with on(cores), tempfile.TemporaryDirectory() as folder:
        settings = load_settings()
        bare_images = _bare(cores, ["images", str(plan.seconds), str(plan.pictures)])
        bare_video = _bare(cores, ["video", str(plan.video_seconds), str(plan.video)]) if plan.video_seconds else 0.0
        with serving("--model-repository", folder, "--no-jobs-worker") as served:
            with on(others or cores):
                gateway, ensemble, shares = _images(served, settings, plan)
            tagged, video_shares = _tagged(served, len(cores), plan) if plan.video_seconds else (0.0, {})
    sizes = {name: getattr(settings, name) for name in ("network_instances", "network_threads", "workers")}
    sizes |= {name: getattr(settings, name) for name in ("batch_max_images", "max_inflight_requests", "tag_jobs")}
    found = (len(cores), bool(others), bare_images, gateway, ensemble)
    return Step(*found, _of(len(cores), shares), bare_video, tagged, _of(len(cores), video_shares), sizes)


def _images(served: Served, settings: Settings, plan: Plan) -> tuple[float, float, dict[str, float]]:
    """Images a second of the gateway and of the ensemble, and cores that each process took for the gateway."""
    files = [path.read_bytes() for path in sorted(plan.pictures.glob("*.jpg"))]
    clients = max(32, CLIENTS_A_CORE * settings.network_instances * settings.network_threads)
    generator.closed_loop(served.url, files, clients, min(3.0, plan.seconds))
    with ProcessorTime(served.processes) as took:
        answers = generator.closed_loop(served.url, files, clients, plan.seconds)
    if answers.refused or answers.others:
        raise RuntimeError(f"{len(answers.refused)} requests were refused, and others failed: {dict(answers.others)}")

    async def ensemble() -> float:
        async with TritonClient(served.triton_url) as client:
            request = ensemble_request(client, files, settings.batch_max_images)
            return (await loaded(request, settings.max_inflight_requests + 1, plan.seconds)).images_per_second

    return answers.goodput, asyncio.run(ensemble()), took.cores_by_role()


def _tagged(served: Served, cores: int, plan: Plan) -> tuple[float, dict[str, float]]:
    """Seconds of video a second, and cores that each process took."""
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{number}.mp4" for number in range(max(1, cores // CORES_A_BARE))]
        for path in paths:
            path.symlink_to(plan.video)
        with _child(["tag", served.triton_url, str(plan.video_seconds), *map(str, paths)]) as client:

            def all_processes() -> dict[str, Any]:
                return served.processes() | ProcessorTime.family(client.pid, "client", "decoding child")

            with ProcessorTime(all_processes) as took:
                rate = _rate([client])
        return rate, took.cores_by_role()


def _bare(cores: Sequence[int], arguments: Sequence[str]) -> float:
    """What processes of two cores each reach together, begun at the same moment."""
    with contextlib.ExitStack() as stack:
        children = []
        for first in range(0, len(cores), CORES_A_BARE):
            with on(cores[first : first + CORES_A_BARE]):
                children.append(stack.enter_context(_child(arguments, wait=False)))
        for child in children:
            _wait_until_ready(child)
        return _rate(children)


@contextlib.contextmanager
def _child(arguments: Sequence[str], *, wait: bool = True) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "benchmarks.scaling_child", *arguments]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as child:
        try:
            if wait:
                _wait_until_ready(child)
            yield child
        finally:
            child.kill()


def _wait_until_ready(child: subprocess.Popen[str]) -> None:
    assert child.stdout is not None
    if child.stdout.readline() != "ready\n":
        raise RuntimeError(f"{shlex.join(map(str, child.args))} did not get ready")  # type: ignore[arg-type]


def _rate(children: Sequence[subprocess.Popen[str]]) -> float:
    """Let them work; what they did in a second, all together, until the last was done."""
    for child in children:
        assert child.stdin is not None
        child.stdin.write("go\n")
        child.stdin.flush()
    found = []
    for child in children:
        assert child.stdout is not None
        found.append(json.loads(child.stdout.readline() or "{}"))
    if not all(found):
        raise RuntimeError("a process failed while it was measured; its own words stand above")
    return sum(float(one["done"]) for one in found) / max(float(one["seconds"]) for one in found)


def _of(cores: int, taken: dict[str, float]) -> dict[str, float]:
    return {role: share / cores for role, share in sorted(taken.items(), key=lambda one: -one[1])}


def table(steps: Sequence[Step]) -> str:
    """Markdown: rates and their ratios, then who takes the processor time."""
    lines = [
        "| cores | load on | bare, images/s | ensemble | gateway | of bare | bare, s of video/s | tag | of bare |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for one in steps:
        video = [one.bare_video, one.tagged_video, one.tagged_video / one.bare_video] if one.bare_video else []
        cells = [str(one.cores), "others" if one.load_is_apart else "the same", f"{one.bare_images:.1f}"]
        cells += [f"{one.ensemble_images:.1f}", f"{one.gateway_images:.1f}"]
        cells += [f"{one.gateway_images / one.bare_images:.2f}", *(f"{value:.2f}" for value in video)]
        lines.append(f"| {' | '.join(cells + [''] * (9 - len(cells)))} |")
    every = {"images": [one.shares for one in steps], "video": [one.video_shares for one in steps]}
    for name, shares in every.items():
        if any(shares):
            lines += ["", f"| share of the cores' time, {name} | {' | '.join(str(one.cores) for one in steps)} |"]
            lines += [f"|---|{'---|' * len(steps)}", *_share_rows(shares)]
    lines += ["", *(f"{one.cores} cores: {', '.join(f'{k} {v}' for k, v in one.sizes.items())}" for one in steps)]
    return "\n".join(lines)


def _share_rows(shares: Sequence[Mapping[str, float]]) -> list[str]:
    """A line for each process that takes a thousandth anywhere, and one for all."""
    roles = dict.fromkeys(role for of_step in shares for role in of_step)
    rows = {role: [of_step.get(role, 0.0) for of_step in shares] for role in roles}
    rows["all"] = [sum(of_step.values()) for of_step in shares]
    kept = {role: values for role, values in rows.items() if max(values) >= 0.001}
    return [f"| {role} | {' | '.join(f'{value:.1%}' for value in values)} |" for role, values in kept.items()]


def numbers(available: int) -> list[int]:
    """2, 4, 8 and so on, and at last as many as leave two for the load, or all of few."""
    most = available - 2 if available > 4 else available
    return [*(count for count in (1, 2, 4, 8, 16, 32, 64, 128) if count < most and (count > 1 or available < 4)), most]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scaling", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--cores", type=int, nargs="+", help="numbers of cores. Default: 2, 4, 8 ... all but 2")
    parser.add_argument("--seconds", type=float, default=8.0, help="of each measurement of images")
    parser.add_argument("--video-seconds", type=float, default=60.0, help="length of each video; 0 leaves video out")
    parser.add_argument("--out", type=Path, default=Path(), help="folder for scaling.json and scaling.png")
    options = parser.parse_args(arguments)
    usable = sorted(os.sched_getaffinity(0))
    counts = options.cores or numbers(len(usable))
    if not all(1 <= count <= len(usable) for count in counts):
        parser.error(f"--cores: numbers from 1 to {len(usable)}, the cores that this process may use")
    options.out.mkdir(parents=True, exist_ok=True)
    said = f"{machine()}\n`python -m benchmarks.scaling {shlex.join(arguments or sys.argv[1:])}`: drawn 720p pictures"
    print(f"{said}\n", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        plan = Plan(options.seconds, options.video_seconds, Path(folder), Path(folder) / "drawn.mp4")
        for number, data in enumerate(jpegs(32)):
            (plan.pictures / f"{number:02}.jpg").write_bytes(data)
        if plan.video_seconds:
            drawn.video_720p(plan.video, plan.video_seconds)
        steps = []
        for count in counts:
            steps.append(step(usable[:count], usable[count:], plan))
            print(f"{count} cores: {steps[-1].gateway_images:.1f} images/s", file=sys.stderr, flush=True)
    print(table(steps))
    content = {"said": said, "steps": [asdict(one) for one in steps]}
    (options.out / "scaling.json").write_text(json.dumps(content, indent=2) + "\n", "utf-8")
    if importlib.util.find_spec("matplotlib") is None:  # a machine that was given few wheels
        print("\nmatplotlib is not installed: no picture")
    else:
        picture = importlib.import_module("benchmarks.scaling_picture")
        picture.draw(steps, options.out / "scaling.png", subtitle=said.split("\n", maxsplit=1)[0])


if __name__ == "__main__":
    main()

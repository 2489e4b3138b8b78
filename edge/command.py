"""The command line of `reeltag watch`; argparse, because a device has nothing else."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from pathlib import Path
from typing import Any, Sequence

from reeltag.errors import InputError, InvalidOption, ReeltagError

from edge.capture.addresses import FORMS, parse
from edge.runtimes.artefacts import find_detector
from edge.runtimes.network import RUNTIMES
from edge.runtimes.planning import build_plan
from edge.words import Event


def main(arguments: Sequence[str]) -> int:
    """Watch; the exit status is 0, 2 after the user's mistake or 1."""
    try:
        if arguments and arguments[0] == "plan":
            _plan(_plan_parser().parse_args(arguments[1:]))
        else:
            _watch(_parser().parse_args(arguments))
    except ReeltagError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2 if isinstance(error, InputError) else 1
    except KeyboardInterrupt:
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="reeltag watch", description="Watch cameras for latency: newest frame first, events as JSON lines."
    )
    add = parser.add_argument
    add("sources", nargs="+", metavar="SOURCE", help=FORMS)
    add("--model-repository", type=Path, default=Path(_repository()), help="folder that `reeltag export` filled")
    add("--model", help="a detector of it instead of the default one")
    add("--runtime", choices=RUNTIMES, help="default: that of the export")
    add("--score", type=float, default=0.35, help="boxes with less are left out, 0 to 1 (default: %(default)s)")
    add("--every-frame", action="store_true", help="look at every frame of a file, however long that takes")
    add("--frames", type=int, help="end a test pattern after so many")
    add("--latency-ms", type=float, default=100, help="several cameras share a run that takes no longer (%(default)s)")
    add("--rtsp-transport", choices=("tcp", "udp"), default="tcp", help="default: %(default)s")
    add("--rtsp-latency-ms", type=int, default=100, help="wait so long for late packets (%(default)s)")
    add(
        "--frame-timeout", type=float, default=10, help="open a camera anew that is silent for so long, s (%(default)s)"
    )
    add("--frozen-seconds", type=float, default=30, help="report the same picture for so long (%(default)s)")
    add("--metrics-port", type=int, help="answer Prometheus on 127.0.0.1:PORT")
    return parser


def _plan_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python3 -m edge plan", description="Build the TensorRT plan of an exported graph by trtexec."
    )
    parser.add_argument("name", help="a detector of the model repository")
    parser.add_argument("--model-repository", type=Path, default=Path(_repository()))
    parser.add_argument("--precision", choices=("fp16", "int8", "fp32"), default="fp16", help="default: %(default)s")
    parser.add_argument("--dla", type=int, help="accelerator that runs what it can; the GPU runs the rest")
    return parser


def _plan(said: argparse.Namespace) -> None:
    artefact = find_detector(said.model_repository, said.name)
    print(f"wrote {build_plan(artefact, dla=said.dla, precision=said.precision)}")


def _repository() -> str:
    return os.environ.get("REELTAG_MODEL_REPOSITORY") or str(Path(__file__).parent.parent / "model_repository")


def _watch(said: argparse.Namespace) -> None:
    from edge.watching import Watch, WatchOptions, report  # noqa: PLC0415 - `--help` waits for no runtime

    if not 0 <= said.score <= 1:
        raise InvalidOption(f"--score {said.score} is not from 0 to 1")
    for option in ("latency_ms", "frame_timeout", "frozen_seconds"):
        if getattr(said, option) <= 0:
            raise InvalidOption(f"--{option.replace('_', '-')} {getattr(said, option)} is not above 0")
    options = WatchOptions(
        sources=[parse(text, transport=said.rtsp_transport) for text in said.sources],
        repository=said.model_repository,
        model=said.model,
        runtime=said.runtime,
        score_threshold=said.score,
        is_lossless=said.every_frame,
        frames=said.frames,
        bound_seconds=said.latency_ms / 1000,
        rtsp_latency_ms=said.rtsp_latency_ms,
        frame_timeout=said.frame_timeout,
        frozen_seconds=said.frozen_seconds,
        metrics_port=said.metrics_port,
    )
    watch = Watch(options, _print)
    print(f"{watch.network.runtime}; {', '.join(one.camera.name for one in watch.watched)}", file=sys.stderr)
    previous = [signal.signal(number, lambda *_: watch.loop.stop()) for number in (signal.SIGINT, signal.SIGTERM)]
    try:
        watch.run()
    finally:
        for number, handler in zip((signal.SIGINT, signal.SIGTERM), previous):
            signal.signal(number, handler)
    for each in watch.watched:
        report(each, sys.stderr)
    _raise_first(watch.watched)


def _print(events: list[Event]) -> None:
    for event in events:
        sys.stdout.write(event.to_json() + "\n")
    sys.stdout.flush()


def _raise_first(watched: Sequence[Any]) -> None:
    """A source that was refused decides the exit status."""
    problems: list[ReeltagError | None] = [one.camera.problem for one in watched if one.camera.state == "refused"]
    for problem in problems:
        if problem is not None:
            raise problem

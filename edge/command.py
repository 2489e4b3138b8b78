"""The command line of `reeltag watch`; argparse, because a device has nothing else."""

from __future__ import annotations

import argparse
import math
import os
import sys
from pathlib import Path
from typing import Any, Callable, NoReturn, Sequence

from reeltag.errors import InputError, InvalidOption, ReeltagError

from edge.capture.addresses import FORMS, parse
from edge.options import CameraOptions, WatchOptions, named
from edge.runtimes.artefacts import find_detector
from edge.runtimes.network import RUNTIMES
from edge.runtimes.planning import build_plan


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


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise InvalidOption(f"{message}; --help shows what there is")


def _number(kind: type, right: str, least: float, most: float = math.inf) -> Callable[[str], Any]:
    """Reads a number of an option, from `least` to `most` and finite."""

    def read(text: str) -> Any:
        try:
            value = kind(text)
        except ValueError:
            value = math.nan
        if not least <= value <= most or value == math.inf:
            raise argparse.ArgumentTypeError(f"{text!r} is not {right}")
        return value

    return read


_PORT = _number(int, "a port, 1 to 65535", 1, 65535)
_COUNT = _number(int, "a whole number of at least 1", 1)
_TIME = _number(float, "a number above 0", 1e-9)
_WAIT = _number(int, "a whole number of at least 0", 0)
_SHARE = _number(float, "a number from 0 to 1", 0, 1)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="reeltag watch", description="Watch cameras for latency: newest frame first, events as JSON lines."
    )
    add = parser.add_argument
    add("sources", nargs="*", metavar="SOURCE", help=f"{FORMS}; csi:stand-in and usb:stand-in are test pictures")
    add("--config", type=Path, metavar="YAML", help="cameras, lines, zones, and who gets the events")
    add("--check", action="store_true", help="say what is wrong in --config, draw its zones on a frame, and end")
    add("--page", type=_PORT, metavar="PORT", help="show the live picture at http://127.0.0.1:PORT; with --config")
    add("--model-repository", type=Path, default=Path(_repository()), help="folder that `reeltag export` filled")
    add("--model", help="a detector of it instead of the default one")
    add("--runtime", choices=RUNTIMES, help="default: that of the export")
    add("--score", type=_SHARE, help="boxes with less are left out, 0 to 1 (default: 0.35)")
    add("--every-frame", action="store_true", help="look at every frame of a file, however long that takes")
    add("--frames", type=_COUNT, metavar="N", help="end a test pattern after so many")
    add("--latency-ms", type=_TIME, default=100, help="several cameras share a run that takes no longer (%(default)s)")
    add("--rtsp-transport", choices=("tcp", "udp"), default="tcp", help="default: %(default)s")
    add("--rtsp-latency-ms", type=_WAIT, default=100, help="wait so long for late packets (%(default)s)")
    add("--frame-timeout", type=_TIME, default=10, help="open a camera anew that is silent for so long, s (10)")
    add("--frozen-seconds", type=_TIME, default=30, help="report the same picture for so long (%(default)s)")
    add("--metrics-port", type=_PORT, metavar="PORT", help="answer Prometheus on 127.0.0.1:PORT")
    return parser


def _plan_parser() -> argparse.ArgumentParser:
    parser = _Parser(
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
    _check(said)
    if said.config is not None:
        from edge.traffic_watch import check, watch_traffic  # noqa: PLC0415 - it needs YAML, and plain watching does not

        (check if said.check else watch_traffic)(said.config, _options(said, []), _usual(said), said.page)
        return
    from edge.running import Printing, run  # noqa: PLC0415 - `--help` waits for no runtime
    from edge.watching import Watch  # noqa: PLC0415

    addresses = [parse(text, transport=said.rtsp_transport) for text in said.sources]
    run(Watch(_options(said, named(addresses, _usual(said))), Printing(is_all=True)))


def _check(said: argparse.Namespace) -> None:
    if (said.config is None) == (not said.sources):
        raise InvalidOption(f"name sources, or a configuration by --config YAML; a source is {FORMS}")
    if said.config is None and (said.check or said.page is not None):
        raise InvalidOption("--check and --page go with --config YAML")


def _usual(said: argparse.Namespace) -> CameraOptions:
    address = parse("pattern:", transport=said.rtsp_transport)._replace(transport=said.rtsp_transport)
    return CameraOptions("", address, said.rtsp_latency_ms, said.frame_timeout, said.frozen_seconds)


def _options(said: argparse.Namespace, cameras: Sequence[CameraOptions]) -> WatchOptions:
    return WatchOptions(
        cameras=cameras,
        repository=said.model_repository,
        model=said.model,
        runtime=said.runtime,
        score_threshold=said.score,
        is_lossless=said.every_frame,
        frames=said.frames,
        bound_seconds=said.latency_ms / 1000,
        metrics_port=said.metrics_port,
    )

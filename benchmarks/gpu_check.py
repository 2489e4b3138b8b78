"""Everything that a GPU has to prove, in one run of at most 9 minutes that asks no package registry.

    python -m benchmarks.gpu_check --photographs val2017 --annotations instances_val64.json

Each part runs in a process of its own, with a time of its own: one that fails, hangs or takes the GPU down is named,
and the others go on. It prints one table and writes `gpu_check.json` after every part, so that nothing is lost where
the run is cut off. `--device cpu` runs the same parts with the CPU's runtimes, which is how it is tested.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any, Final

from benchmarks.gpu.setting import Said, Setting
from reeltag import gpu
from reeltag.gpu import Installed

PARTS: Final = {
    "prepare": ("benchmarks.gpu.preparing:run", 75),
    "bare": ("benchmarks.gpu.bare:run", 45),
    "decoding": ("benchmarks.gpu.decoding:run", 40),
    "ensemble": ("benchmarks.gpu.served:ensemble", 55),
    "gateway": ("benchmarks.gpu.served:gateway", 50),
    "accuracy": ("benchmarks.gpu.accuracy:run", 55),
    "video": ("benchmarks.gpu.videos:run", 60),
    "seminar": ("benchmarks.gpu.benches:seminar", 45),
    "ladder": ("benchmarks.gpu.edge:ladder", 45),
    "scaling": ("benchmarks.gpu.benches:scaling", 30),
    "edge": ("benchmarks.gpu.edge:run", 40),
}
"""Function of each part, and the seconds that it may take: 540 in all."""
_KILLED_AFTER_SECONDS: Final = 5.0


@dataclass
class Outcome:
    """What became of a part."""

    part: str
    seconds: float = 0.0
    failure: str = ""
    """Why it has no figures, or not all; empty where it has."""
    said: dict[str, Any] = field(default_factory=dict)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run all parts, or the one that this process is for; the number of those that failed."""
    parser = _parser()
    options = parser.parse_args(arguments)
    options.network = options.network or ("yolox_s" if options.device == "cuda" else "nanodet_g")
    if unknown := [part for part in options.parts if part not in PARTS]:
        parser.error(f"there is no part {unknown[0]}; there are: {', '.join(PARTS)}")
    if options.part:
        _one(options)
        return 0
    began, outcomes = time.monotonic(), []
    print(machine())
    with tempfile.TemporaryDirectory(prefix="reeltag-gpu-check-") as folder:
        options.repository = options.repository or Path(folder) / "models"
        for name in options.parts or PARTS:
            outcomes.append(_apart(name, options))
            print(_lines(outcomes[-1]), flush=True)
            _write(options.out, outcomes)
    print(f"\n{table(outcomes)}\n\n{time.monotonic() - began:.0f} s in all; {options.out} has it as JSON")
    return sum(bool(outcome.failure) for outcome in outcomes)


def machine() -> str:
    """GPU, driver, packages, cores and Python in a few lines."""
    cuda, installed = gpu.look(), Installed.here()
    card = cuda.gpu
    found = f"{card.name}, {card.total_bytes >> 30} GiB, driver {cuda.driver}" if card else f"no GPU: {cuda.problem}"
    packages = ", ".join(f"{name} {version}" for name, version in installed.versions.items())
    cores = len(os.sched_getaffinity(0))
    return f"{found}\n{cores} cores, Python {platform.python_version()}, {packages or 'no packages'}"


def table(outcomes: Sequence[Outcome]) -> str:
    """Every figure as Markdown, and each part that failed."""
    lines = ["| part | what | value | unit | |", "|---|---|---|---|---|"]
    for outcome in outcomes:
        for figure in outcome.said.get("figures", ()):
            cells = [outcome.part, figure["what"], f"{figure['value']:.1f}", figure["unit"], figure["detail"]]
            lines.append(f"| {' | '.join(cells)} |")
        if outcome.failure:
            lines.append(f"| {outcome.part} | FAILED | | | {outcome.failure.replace('|', '/')} |")
    return "\n".join(lines)


def _apart(name: str, options: argparse.Namespace) -> Outcome:
    """Run a part in a process of its own, which is ended with all that it started when its time is over."""
    _, budget = PARTS[name]
    outcome, began = Outcome(name), time.monotonic()
    with tempfile.NamedTemporaryFile(suffix=".json") as answer, tempfile.TemporaryFile() as log:
        command = [sys.executable, "-m", "benchmarks.gpu_check", "--part", name, "--answer", answer.name]
        command += _words(options)
        environment = dict(os.environ) | ({"CUDA_VISIBLE_DEVICES": ""} if options.device == "cpu" else {})
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
        try:
            process.wait(budget * options.budget)
        except subprocess.TimeoutExpired:
            said = _last_words(log)  # before it is interrupted, which it says, too
            outcome.failure = f"not done in {budget * options.budget:.0f} s{': ' if said else ''}{said}"
            _end(process)
        content = Path(answer.name).read_bytes()
        if content:
            outcome.said = json.loads(content)
            said = outcome.said.pop("failure", "")
            outcome.failure = outcome.failure or said
        elif not outcome.failure:
            outcome.failure = f"ended with {process.returncode}: {_last_words(log)}"
    outcome.seconds = time.monotonic() - began
    return outcome


def _last_words(log: IO[bytes]) -> str:
    log.seek(0)
    return log.read().decode(errors="replace")[-400:].strip()


def _end(process: subprocess.Popen[bytes]) -> None:
    """As Ctrl-C does, so that servers stop; then for good."""
    for sign, seconds in ((signal.SIGINT, _KILLED_AFTER_SECONDS), (signal.SIGKILL, None)):
        os.killpg(process.pid, sign)
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            continue
        return


def _words(options: argparse.Namespace) -> list[str]:
    words = ["--device", options.device, "--network", options.network, "--seconds", str(options.seconds)]
    for name in ("repository", "photographs", "annotations", "video"):
        if (value := getattr(options, name)) is not None:
            words += [f"--{name}", str(value)]
    return words


def _one(options: argparse.Namespace) -> None:
    """The part itself, in its own process."""
    setting = Setting(
        options.device,
        options.network,
        options.seconds,
        options.repository,
        options.photographs,
        options.annotations,
        options.video,
    )
    module, _, function = PARTS[options.part][0].partition(":")
    answer: dict[str, Any]
    try:
        said: Said = getattr(importlib.import_module(module), function)(setting)
        answer = asdict(said)
    except BaseException as error:
        traceback.print_exc()
        answer = {"failure": f"{type(error).__name__}: {str(error).strip()[:400]}"}
    options.answer.write_text(json.dumps(answer), "utf-8")


def _lines(outcome: Outcome) -> str:
    said = [f"\n{outcome.part}: {outcome.failure or 'done'}, {outcome.seconds:.0f} s"]
    for one in outcome.said.get("figures", ()):
        said += [f"  {one['what']}: {one['value']:.1f} {one['unit']} {one['detail']}"]
    said += [f"  {note}" for note in outcome.said.get("notes", ())]
    said += ["  " + ", ".join(f"{key} {value}" for key, value in row.items()) for row in outcome.said.get("rows", ())]
    return "\n".join(said)


def _write(path: Path, outcomes: Sequence[Outcome]) -> None:
    content = {"machine": machine(), "parts": [asdict(outcome) for outcome in outcomes]}
    path.write_text(json.dumps(content, indent=2), "utf-8")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu_check", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; all without any")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--network", default=None, help="yolox_s on a GPU, nanodet_g on a CPU")
    parser.add_argument("--seconds", type=float, default=6.0, help="of one measurement")
    parser.add_argument("--budget", type=float, default=1.0, help="times the seconds that each part may take")
    parser.add_argument("--photographs", type=Path, help="folder of pictures that accuracy is measured on")
    parser.add_argument("--annotations", type=Path, help="COCO JSON of their boxes")
    parser.add_argument("--video", type=Path, help="a video; one is drawn without it")
    parser.add_argument("--out", type=Path, default=Path("gpu_check.json"))
    parser.add_argument("--repository", type=Path, help="model repository to fill; a temporary one without it")
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    parser.add_argument("--answer", type=Path, help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    sys.exit(main())

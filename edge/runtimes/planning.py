"""Plans by trtexec, on devices whose Python is too old for `reeltag export`: `python3 -m edge plan`."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any, Sequence

from reeltag.errors import InvalidOption, SetupError
from reeltag.jetson import Device, this_device

from edge.runtimes.artefacts import FRAMES, NetworkArtefact

WORKSPACE_MIB = 1024
"""As `reeltag export --profile edge`."""
_PLACES = ("/usr/src/tensorrt/bin/trtexec", "/usr/lib/aarch64-linux-gnu/tensorrt/trtexec")
"""Where JetPack has it, which is not on the PATH."""


def build_plan(artefact: NetworkArtefact, *, dla: int | None = None, precision: str = "fp16") -> Path:
    """Build the plan of a graph for the GPU that is here, and note in its passport what for.

    Args:
        artefact: Whose file is an ONNX graph; its calibrated or fine-tuned int8 is in the graph.
        dla: Deep Learning Accelerator that runs what it can; the GPU runs the rest.
        precision: `fp16`, `int8` or `fp32`.

    Returns:
        The plan, beside the graph.

    Raises:
        InvalidOption: The network is a plan already.
        SetupError: trtexec is missing or failed, or the device lacks the accelerator.
    """
    if artefact.file.suffix != ".onnx":
        raise InvalidOption(f"{artefact.name} is a plan already; export its graph anew to build another")
    device = this_device()
    if device is not None and dla is not None:
        device.check_dla(dla)
    plan = artefact.file.with_suffix(".plan")
    building = plan.with_suffix(".building")
    program = _trtexec()
    run = subprocess.run(
        _command(program, artefact, building, dla, precision), capture_output=True, text=True, check=False
    )
    if run.returncode or not building.is_file():
        said = [line for line in run.stdout.splitlines() + run.stderr.splitlines() if "[E]" in line]
        raise SetupError(f"trtexec could not build {plan}: {' '.join(said[-2:]) or run.stderr[-300:]}")
    _note(artefact, run.stdout, dla, precision, device)
    building.replace(plan)
    return plan


def _trtexec() -> str:
    found = shutil.which("trtexec") or next((place for place in _PLACES if Path(place).is_file()), None)
    if found is None:
        raise SetupError("plans are built by trtexec, which is not here; on a Jetson: apt-get install libnvinfer-bin")
    return found


def _command(program: str, artefact: NetworkArtefact, plan: Path, dla: int | None, precision: str) -> Sequence[str]:
    shape = f"{FRAMES}:1x{artefact.height}x{artefact.width}x3"
    command = [program, f"--onnx={artefact.file}", f"--saveEngine={plan}", "--skipInference"]
    command += [f"--{which}Shapes={shape}" for which in ("min", "opt", "max")]
    command += [f"--memPoolSize=workspace:{WORKSPACE_MIB}", f"--timingCacheFile={artefact.file.parent / 'timings'}"]
    if precision != "fp32":
        command.append("--fp16")
    if precision == "int8":
        command.append("--int8")
    if dla is not None:
        command += [f"--useDLACore={dla}", "--allowGPUFallback"]
    return command


def _note(artefact: NetworkArtefact, said: str, dla: int | None, precision: str, device: Device | None) -> None:
    """What `reeltag export` writes of a plan, so that it is refused where it does not fit."""
    file = artefact.file.parent.parent / "passport.json"
    passport: dict[str, Any] = json.loads(file.read_text("utf-8"))
    plan: dict[str, Any] = {
        "module": "tensorrt",
        "version": _version(said),
        "batch_sizes": [1, 1, 1],
        "workspace_bytes": WORKSPACE_MIB * 2**20,
        "dla_core": dla,
    }
    if device is not None:
        board = device.board
        plan["gpu"] = {"name": device.model, "compute_capability": board.compute_capability if board else ""}
        plan["device"] = {
            "model": device.model,
            "l4t": device.l4t,
            "jetpack": str(device.jetpack.number) if device.jetpack else "",
            "power_mode": device.power_mode,
            "gpu_max_hertz": device.gpu_max_hertz,
            "cpu_max_hertz": device.cpu_max_hertz,
        }
    passport.update(runtime="tensorrt", precision=precision, plan=plan)
    fresh = file.with_suffix(".building")
    fresh.write_text(json.dumps(passport, indent=2) + "\n", "utf-8")
    fresh.replace(file)


def _version(said: str) -> str:
    """Of the first line of trtexec's output: `[TensorRT v8502]` or `[TensorRT v100300]`."""
    _, _, rest = said.partition("[TensorRT v")
    digits = rest.partition("]")[0]
    if not digits.isdigit():
        raise SetupError("trtexec does not say its version")
    number = int(digits)
    # 8.5.2 is 8502; from 10 on 10.3.0 is 100300.
    if number < 10_000:
        return f"{number // 1000}.{number // 100 % 10}.{number % 100}"
    return f"{number // 10_000}.{number // 100 % 100}.{number % 100}"

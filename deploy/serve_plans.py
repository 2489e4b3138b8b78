"""Starts NVIDIA's Triton with those models of a repository that its TensorRT, driver and GPU can run.

The image `triton` runs it with the standard library alone. What cannot run is left out by name, with the ensembles that
need it, because Triton would otherwise not start at all; the one-shot exporter builds stale plans anew.

    python3 serve_plans.py /models tritonserver --model-repository=/models ...
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

DRIVER_FILE: Final = Path("/proc/driver/nvidia/version")


@dataclass(frozen=True)
class Container:
    """A release of NVIDIA's Triton container."""

    triton: str
    tensorrt: str
    """Plans of another major, minor or patch version do not load."""
    driver: int
    """Oldest branch that runs it."""
    data_center_drivers: Mapping[int, int]
    """On a data centre's GPU older branches run it as well, each from this minor version on."""


CONTAINERS: Final = {
    "24.10": Container("2.51.0", "10.5.0", 560, {470: 57, 525: 85, 535: 86, 545: 23}),
}
"""By release. Source: NVIDIA, "Triton Inference Server Release 24.10" (docs.nvidia.com/deeplearning/
triton-inference-server/release-notes/rel-24-10.html): driver requirements, and the table of container versions."""


@dataclass(frozen=True)
class Machine:
    """What the container and its host have."""

    release: str
    """Of the container, such as `24.10`; empty outside of one."""
    driver: str
    """Such as `560.35.03`; empty without one."""
    gpu: tuple[str, str]
    """Name and compute capability, such as `("NVIDIA L4", "8.9")`; empty without one."""

    @property
    def problem(self) -> str:
        """Why no plan runs here at all; empty where they may."""
        if not self.driver:
            return "no NVIDIA driver is seen in this container: install nvidia-container-toolkit on the host"
        container = CONTAINERS.get(self.release)
        branch, minor = (int(part) for part in (*self.driver.split("."), "0")[:2])
        if container is None or branch >= container.driver:
            return ""
        if minor >= container.data_center_drivers.get(branch, sys.maxsize):
            return ""
        older = ", ".join(f"{major}.{least}" for major, least in container.data_center_drivers.items())
        return (
            f"container {self.release} needs NVIDIA driver {container.driver} or later (on a data centre's GPU also "
            f"{older} and later ones of these branches), and {self.driver} is here"
        )


def here(environment: Mapping[str, str]) -> Machine:
    """This one."""
    found = re.search(r"Kernel Module\D*(?:for \S+\s+)?(\d+\.\d+(?:\.\d+)?)", _text(DRIVER_FILE))
    return Machine(environment.get("NVIDIA_TRITON_SERVER_VERSION", ""), found[1] if found else "", _gpu())


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace")
    except OSError:
        return ""


def _gpu() -> tuple[str, str]:
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return "", ""
    device, name = ctypes.c_int(), ctypes.create_string_buffer(96)
    major, minor = ctypes.c_int(), ctypes.c_int()
    if driver.cuInit(0) or driver.cuDeviceGet(ctypes.byref(device), 0):
        return "", ""
    driver.cuDeviceGetName(name, 96, device)
    driver.cuDeviceGetAttribute(ctypes.byref(major), 75, device)  # the compute capability
    driver.cuDeviceGetAttribute(ctypes.byref(minor), 76, device)
    return name.value.decode(), f"{major.value}.{minor.value}"


def chosen(repository: Path, machine: Machine) -> tuple[list[str], dict[str, str]]:
    """Names of the models to load, and why the others are not."""
    configs = {path.parent.name: _text(path) for path in sorted(repository.glob("*/config.pbtxt"))}
    left_out = {name: problem for name in configs if (problem := _problem(repository / name, machine))}
    for name, config in configs.items():
        missing = [step for step in re.findall(r'model_name:\s*"([^"]+)"', config) if step in left_out]
        if missing:
            left_out[name] = f"it needs {missing[0]}"
    return [name for name in configs if name not in left_out], left_out


def _problem(model: Path, machine: Machine) -> str:
    try:
        plan: dict[str, Any] | None = json.loads(_text(model / "passport.json") or "{}").get("plan")
    except ValueError as error:
        return f"its passport is damaged ({error}); export it again"
    if plan is None:
        return ""
    return machine.problem or "; ".join(_mismatches(plan, machine, model.name))


def _mismatches(plan: dict[str, Any], machine: Machine, name: str) -> Iterator[str]:
    rebuild = f"rebuild it: docker compose --profile gpu run --rm exporter reeltag export {name} --rebuild-stale"
    container = CONTAINERS.get(machine.release)
    if plan["module"] != "tensorrt":
        yield f"it is a plan of {plan['module']}, which this container does not have; {rebuild}"
    elif container is not None and plan["version"].split(".")[:3] != container.tensorrt.split("."):
        yield f"it was built by TensorRT {plan['version']}, and {container.tensorrt} is in this container; {rebuild}"
    built = plan.get("gpu") or {}
    if (built.get("name"), built.get("compute_capability")) != machine.gpu and not plan.get("targets"):
        here_is = machine.gpu[0] or "none"
        yield f"it was built on {built.get('name', 'an unknown GPU')}, and {here_is} is here; {rebuild}"


def main(arguments: list[str]) -> None:
    """Say what is left out, and become Triton.

    Args:
        arguments: The repository, then Triton's command without the models to load.
    """
    repository, *command = arguments
    loaded, left_out = chosen(Path(repository), here(os.environ))
    for name, problem in left_out.items():
        print(f"{name} is left out: {problem}", file=sys.stderr, flush=True)
    if not loaded:
        sys.exit(f"nothing in {repository} can be served here")
    os.execvp(command[0], [*command, *(f"--load-model={name}" for name in loaded)])


if __name__ == "__main__":
    main(sys.argv[1:])

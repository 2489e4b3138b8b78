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
from collections.abc import Iterable, Iterator, Mapping
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
    cuda: str
    python: str
    driver: int
    """Oldest branch that runs it."""
    data_center_drivers: Mapping[int, int]
    """On a data centre's GPU older branches run it as well, each from this minor version on."""


_DATA_CENTER: Final = {470: 57, 525: 85, 535: 86, 545: 23}
CONTAINERS: Final = {
    "24.10": Container("2.51.0", "10.5.0", "12.6.2", "3.10", 560, _DATA_CENTER),
    "24.12": Container("2.53.0", "10.7.0", "12.6.3", "3.12", 560, _DATA_CENTER),
    "25.03": Container("2.56.0", "10.9.0", "12.8.1", "3.12", 560, _DATA_CENTER),
    "25.10": Container("2.62.0", "10.13.3", "13.0.2", "3.12", 575, _DATA_CENTER),
}
"""By release; docs/gpu.md has the same table and its sources."""


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
        if container is None:
            here_is = (
                f"container {self.release}" if self.release else "this place, which is none of NVIDIA's containers,"
            )
            return f"{here_is} is not known here: {_known()}; build on one of these"
        branch, minor = (int(part) for part in (*self.driver.split("."), "0")[:2])
        if branch >= container.driver or minor >= container.data_center_drivers.get(branch, sys.maxsize):
            return ""
        older = ", ".join(f"{major}.{least}" for major, least in container.data_center_drivers.items())
        return (
            f"container {self.release} needs NVIDIA driver {container.driver} or later (on a data centre's GPU also "
            f"{older} and later ones of these branches), and {self.driver} is here"
        )


def _known() -> str:
    return ", ".join(f"{release} with TensorRT {one.tensorrt}" for release, one in CONTAINERS.items())


def container_of(tensorrt: str) -> str:
    """Where a plan of such a version runs, in words.

    Args:
        tensorrt: Version that built the plan, such as `10.5.0.18`.
    """
    wanted = ".".join(tensorrt.split(".")[:3])
    found = next((release for release, one in CONTAINERS.items() if one.tensorrt == wanted), "")
    return f"container {found} has {wanted}" if found else f"no container that is known here has it ({_known()})"


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
    container = CONTAINERS[machine.release]  # `Machine.problem` is said of others
    if plan["module"] != "tensorrt":
        yield f"it is a plan of {plan['module']}, which this container does not have; {rebuild}"
    elif plan["version"].split(".")[:3] != container.tensorrt.split("."):
        fits = container_of(plan["version"])
        yield (
            f"it was built by TensorRT {plan['version']}, and {container.tensorrt} is in this container; {fits}; "
            f"{rebuild}"
        )
    built = plan.get("gpu") or {}
    if (built.get("name"), built.get("compute_capability")) != machine.gpu and not plan.get("targets"):
        here_is = machine.gpu[0] or "none"
        yield f"it was built on {built.get('name', 'an unknown GPU')}, and {here_is} is here; {rebuild}"


def with_nvjpeg(environment: Mapping[str, str], paths: Iterable[str]) -> dict[str, str]:
    """The environment in which nvImageCodec finds the package of nvJPEG; Triton's own libraries stay the first.

    Args:
        environment: Of this process.
        paths: In which Python looks for packages.
    """
    folders = [str(folder) for path in paths if path and (folder := Path(path, "nvidia", "nvjpeg", "lib")).is_dir()]
    before = environment.get("LD_LIBRARY_PATH", "")
    return {**environment, "LD_LIBRARY_PATH": os.pathsep.join(filter(None, [before, *folders]))}


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
    environment = with_nvjpeg(os.environ, sys.path)
    os.execvpe(command[0], [*command, *(f"--load-model={name}" for name in loaded)], environment)


if __name__ == "__main__":
    main(sys.argv[1:])

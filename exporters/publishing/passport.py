"""What an artefact was built from and for, as a JSON file beside it; read before a model is served.

Imports neither onnx nor torch, because every start of a server reads passports.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from exporters.files import write_atomically
from reeltag import gpu as gpus
from reeltag.errors import ModelRepositoryError
from reeltag.jetson import this_device
from reeltag.measured import Measured

PASSPORT_FILE: Final = "passport.json"
_REMEDY: Final = "export the network again, or remove its folder"
_SIGNIFICANT_VERSION_PARTS: Final = 3
"""A plan loads in TensorRT of the same major, minor and patch version; the build number does not matter."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Gpu(_Frozen):
    """An NVIDIA GPU."""

    name: str
    """Such as `NVIDIA L4`."""
    compute_capability: str
    """Such as `8.9`."""


class JetsonBuild(_Frozen):
    """The Jetson that a plan was built on, as it was set up then: a plan is tuned by its clocks."""

    model: str
    l4t: str
    """Such as `36.4.3`."""
    jetpack: str
    """Major version, such as `6`."""
    power_mode: str
    """Such as `15W`."""
    gpu_max_hertz: int | None
    cpu_max_hertz: int | None


class PlanBuild(_Frozen):
    """What a TensorRT plan was built by and for."""

    module: Literal["tensorrt", "tensorrt_rtx"]
    version: str
    """Of the module."""
    gpu: Gpu | None = None
    """That it was built on; none where it was built for `targets` without one."""
    targets: tuple[str, ...] = ()
    """Compute capabilities such as `SM89`; empty for the GPU that it was built on."""
    batch_sizes: tuple[int, int, int]
    """Smallest, usual, largest."""
    workspace_bytes: int | None = None
    """Most scratch memory that a layer might use; none where all of it."""
    dla_core: int | None = None
    """Deep Learning Accelerator that it was built for."""
    plugins: tuple[str, ...] = ()
    """Names of the plugins in it."""
    device: JetsonBuild | None = None
    """Where it was built on a Jetson."""


class Passport(_Frozen):
    """What is known of an artefact."""

    fingerprint: str = ""
    """Changes with anything that a folder of the model repository should hold."""
    turn: int = 0
    """Of several networks with one task the one with the highest serves it; counts up with every export."""
    network: str = ""
    """In the catalogue, of one that has a name of the user's."""
    source: str = ""
    """Where the weights come from: a file that the user brought, or for people those that come with reeltag."""
    source_sha256: str = ""
    file_sha256: str = ""
    """Of the served file."""
    exported: bool = False
    """Made by `reeltag export`, so kept as it is; otherwise what comes with reeltag, renewed with it."""
    parameters: int = 0
    """How many weights the network has."""
    licence: str = ""
    """SPDX expression of the weights."""
    reeltag_version: str = ""
    runtime: str = ""
    """`openvino`, `onnxruntime` or `tensorrt`."""
    precision: str = ""
    """`fp32`, `bf16`, `fp16` or `int8`."""
    nms: Literal["python", "engine", "network"] = "python"
    """Of a detector: suppression behind the graph, by a Python backend, or in it; or none, because the network's own
    boxes are final."""
    one_by_one: bool = False
    """Whether pictures are given to the network one by one, because it is not known to be right for several at once."""
    kept_fp32: tuple[str, ...] = ()
    """Nodes that stayed in float32, each with the reason."""
    calibration_sha256: str = ""
    calibration_method: str = ""
    plan: PlanBuild | None = None
    """Only of a TensorRT plan."""
    measured: Measured | None = None

    @property
    def sha256(self) -> str:
        """Of what is said of the artefact but its turn and its speed here; goes into the provenance of results."""
        said = self.model_dump_json(
            exclude={
                "fingerprint": True,
                "turn": True,
                "measured": {"images_per_second", "machine"},
                "plan": {"device"},
            }
        )
        return hashlib.sha256(said.encode()).hexdigest()

    def write(self, folder: Path) -> None:
        """Write `passport.json` into a folder, whole or not at all.

        Raises:
            OutputError: It cannot be written.
        """
        write_atomically(folder / PASSPORT_FILE, f"{self.model_dump_json(indent=2)}\n".encode())


def read_passport(folder: Path) -> Passport:
    """Read a folder's passport.

    Raises:
        ModelRepositoryError: It is missing, or not one.
    """
    path = folder / PASSPORT_FILE
    try:
        return Passport.model_validate_json(path.read_bytes())
    except OSError as error:
        raise ModelRepositoryError(f"{path} cannot be read ({error.strerror}); {_REMEDY}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise ModelRepositoryError(f"{path} is no passport ({where}: {first['msg']}); {_REMEDY}") from error


def turn_in(folder: Path) -> int:
    """Turn of what a folder holds; 0 where it has no passport, or one that cannot be read."""
    try:
        return read_passport(folder).turn
    except ModelRepositoryError:
        return 0


def jetson_build() -> JetsonBuild | None:
    """This Jetson as a passport has it; none elsewhere."""
    device = this_device()
    if device is None:
        return None
    return JetsonBuild(
        model=device.model,
        l4t=device.l4t,
        jetpack=str(device.jetpack.number) if device.jetpack else "",
        power_mode=device.power_mode,
        gpu_max_hertz=device.gpu_max_hertz,
        cpu_max_hertz=device.cpu_max_hertz,
    )


def find_gpu(cuda: gpus.Cuda | None = None) -> Gpu | None:
    """The first NVIDIA GPU that CUDA programs see here; on a Jetson that of its device tree.

    Args:
        cuda: What the driver says; it is asked without it.
    """
    jetson = this_device()
    if jetson is not None and jetson.board is not None:
        return Gpu(name=jetson.model, compute_capability=jetson.board.compute_capability)
    found = (cuda or gpus.look()).gpu
    if found is None:
        return None
    return Gpu(name=found.name, compute_capability="{}.{}".format(*found.compute_capability))


def check_servable(
    passport: Passport, *, name: str, tensorrt_version: str | None, gpu: Gpu | None, rebuild: str
) -> None:
    """Refuse a plan that was made for another TensorRT or GPU; other artefacts run anywhere.

    Args:
        passport: Of the artefact.
        name: Of the model, for people.
        tensorrt_version: Of the TensorRT that would serve it; none where it is not known.
        gpu: That would serve it.
        rebuild: The command that builds the plan anew here.

    Raises:
        ModelRepositoryError: It cannot run here; the text says why, and where there is a GPU, the command.
    """
    if passport.plan is None:
        return
    mismatch = _mismatch(passport.plan, tensorrt_version, gpu)
    if mismatch:
        way_out = f"; rebuild it: {rebuild}" if gpu else ""
        raise ModelRepositoryError(f"the plan of {name} cannot be served here: {mismatch}{way_out}")


def _mismatch(plan: PlanBuild, tensorrt_version: str | None, gpu: Gpu | None) -> str:
    if tensorrt_version is not None and _significant(plan.version) != _significant(tensorrt_version):
        return f"it was built by {plan.module} {plan.version}, and {tensorrt_version} is here"
    if gpu is None:
        return "there is no NVIDIA GPU"
    here = f"{gpu.name} (compute capability {gpu.compute_capability}) is here"
    if plan.targets:
        fits = f"SM{gpu.compute_capability.replace('.', '')}" in plan.targets
        return "" if fits else f"it was built for {', '.join(plan.targets)}, and {here}"
    if plan.gpu is None:
        return "it does not say for which GPU it was built"
    if plan.gpu != gpu:
        built = f"{plan.gpu.name} (compute capability {plan.gpu.compute_capability})"
        return f"it was built for {built}, and {here}"
    return ""


def _significant(version: str) -> list[str]:
    return version.split(".")[:_SIGNIFICANT_VERSION_PARTS]

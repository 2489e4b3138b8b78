"""Where each network of a repository runs here: on the GPU, on the CPU, or not at all."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from exporters.publishing.artefact import Artefact
from exporters.publishing.passport import check_servable, find_gpu
from reeltag.contract import MAX_BATCH_SIZE
from reeltag.errors import ModelRepositoryError
from reeltag.frames import decoding_bytes
from reeltag.gpu import Cuda, Runtime, look, runtimes

FEWEST_FREE_BYTES: Final = 1 << 30
"""What has to be free on a GPU before anything is loaded there: CUDA, cuDNN and a small network take most of it."""
_CPU: Final = "openvino"
_GRAPHS_ON_GPU: Final = "onnxruntime"
_CUDA_PRECISIONS: Final = ("fp32", "fp16")
"""Of graphs that ONNX Runtime's CUDA provider computes as fast as the GPU can; int8 it brings back to float first."""
_BYTES_OF_FLOAT32: Final = 4


@dataclass(frozen=True)
class Machine:
    """What networks could run on."""

    cuda: Cuda
    runtimes: tuple[Runtime, ...] = ()
    """Packages for its GPU, those that cannot be used with the reason."""
    gpu_is_refused: bool = False
    """Whether it has a GPU that is not to be used."""

    @classmethod
    def here(cls) -> Machine:
        """This one, as it is now."""
        cuda = look()
        return cls(cuda, runtimes(cuda) if cuda.gpu else ())

    @classmethod
    def without_gpu(cls, reason: str) -> Machine:
        """This one, whose GPU is not used."""
        return cls(Cuda(problem=reason), gpu_is_refused=True)

    def problem_with(self, name: str) -> str:
        """Why a package runs no network on the GPU, and what would help; empty where it does."""
        gpu = self.cuda.gpu
        if gpu is None:
            return self.cuda.problem
        if gpu.free_bytes < FEWEST_FREE_BYTES:
            return f"{gpu.name} has {gpu.free_bytes >> 20} MiB free, and {FEWEST_FREE_BYTES >> 20} are needed"
        found = next((one for one in self.runtimes if one.name == name), Runtime(name, problem="it is unknown"))
        remedy = f" (`{found.remedy}`)" if found.problem and found.remedy else ""
        return f"{found.name}: {found.problem}{remedy}" if found.problem else ""

    def version_of(self, name: str) -> str | None:
        """Of a package; none where it is not installed."""
        return next((one.version or None for one in self.runtimes if one.name == name), None)


@dataclass(frozen=True)
class Place:
    """Where a network runs."""

    artefact: Artefact
    """As it is served here."""
    engine: str = ""
    """Package that runs it on the GPU; empty on the CPU."""
    reason: str = ""
    """Why it runs otherwise than it was exported, for people; empty where it does not, or nobody minds."""

    @property
    def is_as_published(self) -> bool:
        """Whether its folder in the repository is what is served."""
        return not self.engine and self.artefact.published is not None


def places(artefacts: Sequence[Artefact], machine: Machine | None = None) -> tuple[dict[str, Place], dict[str, str]]:
    """Places of networks by name, and why the others have none; whether their files are whole is not looked at."""
    machine = machine or Machine.here()
    tried = {artefact.spec.name: _place_or_problem(artefact, machine) for artefact in artefacts}
    found = {name: one for name, one in tried.items() if isinstance(one, Place)}
    return found, {name: one for name, one in tried.items() if isinstance(one, str)}


def _place_or_problem(artefact: Artefact, machine: Machine) -> Place | str:
    try:
        return place(artefact, machine)
    except ModelRepositoryError as error:
        return str(error)


def place(artefact: Artefact, machine: Machine) -> Place:
    """Where a network runs best: its plan on the GPU, its graph there, or its graph on the CPU.

    Raises:
        ModelRepositoryError: Nowhere; the text says why.
    """
    if artefact.passport.plan is None:
        return _of_graph(artefact, machine)
    problem = _problem_of_plan(artefact, machine)
    if not problem:
        return Place(artefact, artefact.passport.plan.module)
    if artefact.graph is None:
        raise ModelRepositoryError(f"{problem}; the graph that it was built from is not beside it")
    passport = artefact.passport.model_copy(update={"runtime": _GRAPHS_ON_GPU, "plan": None, "file_sha256": ""})
    graph = replace(artefact, file=artefact.graph, graph=None, passport=passport, published=None)
    instead = _of_graph(graph, machine)
    where = f"on the GPU in {instead.engine}" if instead.engine else f"on the CPU in {_CPU}"
    return replace(instead, reason=f"its graph runs {where}, because {problem}")


def notices(found: dict[str, Place], machine: Machine) -> list[str]:
    """What people should know of where networks run: what is on the GPU, and what is otherwise than it was exported."""
    said = []
    gpu = machine.cuda.gpu
    on_gpu = [f"{name} ({one.engine})" for name, one in found.items() if one.engine]
    if on_gpu and gpu is not None:
        said.append(
            f"on {gpu.name}: {', '.join(on_gpu)}; {_memory([one.artefact for one in found.values() if one.engine])}"
        )
    said += [f"{name}: {one.reason}" for name, one in found.items() if one.reason]
    problem = machine.problem_with(_GRAPHS_ON_GPU)
    if gpu is not None and problem and any(not one.engine for one in found.values()):
        said.append(f"networks run on the CPU, though {gpu.name} is here: {problem}")
    return said


def _memory(artefacts: Sequence[Artefact]) -> str:
    """What is known beforehand of the memory that these networks take, and the pictures before them."""
    specs = [artefact.spec for artefact in artefacts]
    views = sorted({spec.view for spec in specs if spec.view is not None}, key=lambda view: view.name)
    inputs = sum(spec.max_batch_size * math.prod(spec.input_shape) for spec in specs)
    pictures = (
        f"at most {decoding_bytes(views, MAX_BATCH_SIZE) >> 20} MiB for {MAX_BATCH_SIZE} pictures, and "
        if views
        else ""
    )
    return f"{pictures}{inputs / (1 << 20):.1f} MiB for the inputs of the networks, beside CUDA's own memory"


def _problem_of_plan(artefact: Artefact, machine: Machine) -> str:
    plan, name = artefact.passport.plan, artefact.spec.name
    assert plan is not None
    version = machine.version_of(plan.module)
    rebuild = f"reeltag export {name} --rebuild-stale"
    gpu = find_gpu(machine.cuda)
    try:
        check_servable(artefact.passport, name=name, tensorrt_version=version, gpu=gpu, rebuild=rebuild)
    except ModelRepositoryError as error:
        return f"{error} ({machine.cuda.problem})" if machine.cuda.problem else str(error)
    return machine.problem_with(plan.module)


def _of_graph(artefact: Artefact, machine: Machine) -> Place:
    problem = machine.problem_with(_GRAPHS_ON_GPU) or _unfit_for_cuda(artefact)
    passport = artefact.passport
    if not problem:
        precision = "fp32" if passport.precision == "bf16" else passport.precision
        said = passport.model_copy(update={"runtime": _GRAPHS_ON_GPU, "precision": precision})
        return Place(replace(artefact, passport=said, published=None), _GRAPHS_ON_GPU)
    if passport.runtime == _CPU:
        unfit = machine.cuda.gpu is not None and not machine.problem_with(_GRAPHS_ON_GPU)
        return Place(artefact, reason=f"it runs on the CPU, because {problem}" if unfit else "")
    said = passport.model_copy(update={"runtime": _CPU})
    reason = f"it runs on the CPU in {_CPU}, not in {passport.runtime} as it was exported, because {problem}"
    return Place(replace(artefact, passport=said, published=None), reason=reason)


def _unfit_for_cuda(artefact: Artefact) -> str:
    """Why a graph stays on the CPU of a machine with a GPU; empty where it does not."""
    passport = artefact.passport
    if passport.one_by_one:
        return "it takes one picture at a time"
    # OpenVINO computes a float32 graph in bfloat16 where the CPU can; only elsewhere the graph itself has casts. What
    # comes with reeltag is such a graph, with its weights kept in half of the bytes.
    is_whole = not passport.exported or _size(artefact) >= _BYTES_OF_FLOAT32 * passport.parameters > 0
    is_float32 = passport.precision == "bf16" and is_whole
    if passport.precision in _CUDA_PRECISIONS or is_float32:
        return ""
    return f"ONNX Runtime's CUDA provider is not made for {passport.precision}: export it in fp16"


def _size(artefact: Artefact) -> int:
    return artefact.file.stat().st_size if artefact.file.is_file() else 0

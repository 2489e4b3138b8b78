"""Makes an artefact of a source: precision, suppression, runtime and passport."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from onnx import ModelProto

from exporters.catalogue.entries import ModelSpec
from exporters.files import sha256_of, write_atomically
from exporters.finetuning.options import FineTuning
from exporters.graphs.compose import is_one_by_one
from exporters.graphs.suppression import suppressing
from exporters.plans.build import PlanOptions
from exporters.plans.planned import planned
from exporters.plans.tensorrt_api import ModuleName, installed
from exporters.precision.calibration import CalibrationSet
from exporters.precision.convert import Precision, PrecisionReport, convert
from exporters.precision.int8 import Method
from exporters.progress import Progress
from exporters.publishing.artefact import Artefact, cpu_has_bf16
from exporters.publishing.configs import Nms
from exporters.publishing.passport import Passport
from exporters.sources.source import Source
from reeltag import __version__
from reeltag.errors import InvalidOption

Runtime = Literal["openvino", "onnxruntime", "tensorrt"]
RUNTIMES: Final[tuple[Runtime, ...]] = ("openvino", "onnxruntime", "tensorrt")


@dataclass(frozen=True)
class Making:
    """How an artefact is made."""

    precision: Precision = "fp32"
    method: Method = "entropy"
    """How int8 ranges are chosen."""
    fine_tuning: FineTuning | None = None
    """Trains int8 after its calibration."""
    runtime: Runtime = "openvino"
    """What it is for; elsewhere its graph runs in another one (`publishing.placing`)."""
    nms: Nms | None = None
    """Of a detector whose boxes are not final: suppression by the `nms` backend, or in the graph (`engine`). Without it
    by the backend for OpenVINO, in the graph for runtimes of a GPU."""
    plan: PlanOptions = field(default_factory=PlanOptions)
    """For `tensorrt`."""
    builder: ModuleName | None = None
    """Of plans; what is installed without it (`tensorrt_api.installed`). `tensorrt_rtx` builds without a GPU, too."""

    def __post_init__(self) -> None:
        if self.runtime not in RUNTIMES:
            raise InvalidOption(f"runtime {self.runtime!r} is unknown; there are: {', '.join(RUNTIMES)}")
        if self.fine_tuning is not None and self.precision != "int8":
            raise InvalidOption(f"{self.precision} is not fine-tuned, only int8 is: leave --qat out")


def made(
    source: Source,
    making: Making,
    calibration: CalibrationSet | None,
    folder: Path,
    *,
    progress: Progress | None = None,
) -> tuple[Artefact, PrecisionReport]:
    """Make an artefact whose files lie in `folder`, and say what was done to its graph.

    Args:
        source: The network in float32.
        making: What is made of it.
        calibration: Pictures like those to come; needed for all but fp32.
        folder: To write into.
        progress: Told of the steps of what takes long.

    Raises:
        InvalidOption: An option is out of range, or does not go with the network.
        InputError: The calibration pictures are missing or too few, or the network answers NaN to them, or TensorRT
            cannot take the graph.
        SetupError: TensorRT or a GPU is missing, or its builder failed.
        OutputError: The artefact cannot be written.
    """
    _check_one_by_one(source, making)
    graph, report = _lowered(source, making, calibration, progress)
    if making.nms == "engine":
        _check_suppression(source.spec)
    nms = suppression_of(source.spec, making)
    if nms == "engine":
        graph = suppressing(graph)
    file = folder / "model.onnx"
    write_atomically(file, graph.SerializeToString(deterministic=True))
    passport = Passport(
        network=source.spec.network,
        source=source.origin,
        source_sha256=source.sha256,
        file_sha256=sha256_of(file),
        exported=True,
        parameters=source.spec.parameters,
        licence=source.spec.licence,
        reeltag_version=__version__,
        runtime=making.runtime,
        precision=report.precision,
        nms=nms,
        one_by_one=is_one_by_one(source.graph),
        kept_fp32=tuple(f"{kept.node} ({kept.operator}): {kept.reason}" for kept in report.kept_fp32),
        calibration_sha256=report.calibration_sha256,
        calibration_method=report.method,
    )
    artefact = Artefact(source.spec, file, passport)
    if making.runtime == "tensorrt":
        builder = making.builder or installed()
        artefact = planned(artefact, making.plan, folder, builder=builder, progress=progress)
    return artefact, report


def suppression_of(spec: ModelSpec, making: Making) -> Nms:
    """What suppresses a network's boxes: from a GPU they would be copied for that alone."""
    if spec.is_final:
        return "network"
    return making.nms or ("engine" if spec.task == "detect" and making.runtime != "openvino" else "python")


def _check_suppression(spec: ModelSpec) -> None:
    if spec.task != "detect":
        raise InvalidOption(f"{spec.name} is no detector and has no boxes to suppress; leave --nms out")
    if spec.is_final:
        raise InvalidOption(f"the boxes of {spec.name} are final, none is to be suppressed; leave --nms out")


def _check_one_by_one(source: Source, making: Making) -> None:
    """A network that is not right for several pictures at once goes with the one backend that gives it them singly."""
    if not is_one_by_one(source.graph):
        return
    alone = f"{source.spec.name} takes one picture at a time, because its batch could not be freed"
    if making.runtime != "openvino":
        raise InvalidOption(
            f"{alone}: {making.runtime} in NVIDIA's container is given batches. Export your network with a dynamic "
            "batch, or take --runtime openvino, which gives it pictures one by one"
        )
    if making.fine_tuning is not None:
        raise InvalidOption(f"{alone}: fine-tuning takes batches; leave --qat out, or export it with a dynamic batch")


def _lowered(
    source: Source, making: Making, calibration: CalibrationSet | None, progress: Progress | None
) -> tuple[ModelProto, PrecisionReport]:
    """The graph in its precision.

    Where the CPU computes in bfloat16, OpenVINO brings a float32 graph into it by itself, faster than one with casts.
    """
    if making.precision == "bf16" and making.runtime == "openvino" and cpu_has_bf16():
        return source.graph, PrecisionReport("bf16", "", "", 0, 0, (), 0.0)
    if making.precision == "fp32":
        calibration = None
    tuning = making.fine_tuning
    return convert(
        source.graph, making.precision, calibration, method=making.method, fine_tuning=tuning, progress=progress
    )

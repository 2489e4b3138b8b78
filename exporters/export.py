"""From a source to a served model: precision, runtime, passport, and the model repository."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from onnx import ModelProto

from exporters import configs
from exporters.artefact import Artefact, cpu_has_bf16, sha256_of
from exporters.calibration import CalibrationSet, read_pictures
from exporters.catalog import ModelSpec
from exporters.configs import Nms
from exporters.files import write_atomically
from exporters.int8 import Method
from exporters.passport import Passport
from exporters.plan import PlanOptions
from exporters.planned import Builder, planned
from exporters.precision import PRECISIONS, Precision, PrecisionReport, convert
from exporters.progress import Progress
from exporters.repository import publish
from exporters.source import Source
from exporters.suppression_graph import suppression_graph, with_suppression
from reeltag import __version__
from reeltag.errors import InvalidOption

Runtime = Literal["openvino", "onnxruntime", "tensorrt"]
RUNTIMES: Final[tuple[Runtime, ...]] = ("openvino", "onnxruntime", "tensorrt")


@dataclass(frozen=True)
class ExportOptions:
    """What is made of a source."""

    precision: Precision | None = None
    """Without it fp32, which OpenVINO runs in bfloat16 where the CPU computes in it."""
    calibration: Path | None = None
    """Folder of pictures like those to come; needed for all but fp32."""
    method: Method = "percentile"
    """How int8 ranges are chosen."""
    runtime: Runtime = "openvino"
    """`onnxruntime` and `tensorrt` are in NVIDIA's container, not in the server that comes with reeltag."""
    nms: Nms = "python"
    """Of a detector: suppression by the `nms` backend, or in the graph (`engine`)."""
    plan: PlanOptions = field(default_factory=PlanOptions)
    """For `tensorrt`."""
    builder: Builder = "tensorrt"
    """Of plans; `tensorrt_rtx` builds without a GPU, to prove that NVIDIA's builder takes the graph."""


@dataclass(frozen=True)
class ExportReport:
    """What was exported and published, and on what grounds."""

    artefact: Artefact
    agreement: str
    """How closely the float32 graph agrees with its source."""
    precision: PrecisionReport
    megabytes: float
    written: list[str]
    """Folders of the model repository; empty where it had all of it already."""

    def __str__(self) -> str:
        done = f"published {', '.join(self.written)}" if self.written else "the model repository has it already"
        return f"{self.artefact.spec.name}: {self.megabytes:.1f} MB, {self.agreement}; {done}"


def export(
    source: Source, options: ExportOptions | None = None, *, target: Path, progress: Progress | None = None
) -> ExportReport:
    """Bring a source into a precision and a runtime, and publish it first of its task.

    Args:
        source: What to export.
        options: Without it float32 for OpenVINO.
        target: Model repository.
        progress: Told of the steps of TensorRT's builder.

    Raises:
        InvalidOption: An option is out of range, or does not go with another.
        InputError: The calibration pictures are missing, too few or unreadable, or the network answers NaN to them.
        SetupError: The graph disagrees with its source, or TensorRT is missing or failed.
        OutputError: The artefact cannot be written.
        ModelRepositoryError: The model repository cannot be written; what was served before still is.
    """
    options = options or ExportOptions()
    if options.runtime not in RUNTIMES:
        raise InvalidOption(f"runtime {options.runtime!r} is unknown; there are: {', '.join(RUNTIMES)}")
    agreement = source.agreement()
    calibration = _calibration(source, options)
    with tempfile.TemporaryDirectory() as folder:
        artefact, report = _built(source, options, calibration, Path(folder))
        if options.runtime == "tensorrt":
            artefact = planned(artefact, options.plan, Path(folder), builder=options.builder, progress=progress)
        megabytes = artefact.file.stat().st_size / 1e6
        written = publish(target, [artefact])
    return ExportReport(artefact, agreement, report, megabytes, written)


def _calibration(source: Source, options: ExportOptions) -> CalibrationSet | None:
    if options.calibration is None:
        return None
    if source.spec.view is None:
        raise InvalidOption(f"{source.spec.name} takes windows of frames, not pictures; leave the calibration out")
    return read_pictures(options.calibration, source.spec.view)


def _built(
    source: Source, options: ExportOptions, calibration: CalibrationSet | None, folder: Path
) -> tuple[Artefact, PrecisionReport]:
    """The artefact, whose file lies in `folder`."""
    graph, report = _lowered(source, options, calibration)
    if options.nms == "engine":
        graph = with_suppression(graph, _suppression(source.spec))
    file = folder / "model.onnx"
    write_atomically(file, graph.SerializeToString(deterministic=True))
    passport = Passport(
        source=source.origin,
        source_sha256=source.sha256,
        file_sha256=sha256_of(file),
        exported=True,
        parameters=source.spec.parameters,
        licence=source.spec.licence,
        reeltag_version=__version__,
        runtime=options.runtime,
        precision=report.precision,
        nms=options.nms,
        kept_fp32=tuple(f"{kept.node} ({kept.operator}): {kept.reason}" for kept in report.kept_fp32),
        calibration_sha256=report.calibration_sha256,
        calibration_method=report.method,
    )
    return Artefact(source.spec, file, passport), report


def _suppression(spec: ModelSpec) -> ModelProto:
    """What the `nms` backend does, as a graph."""
    if spec.task != "detect":
        raise InvalidOption(f"{spec.name} is no detector and has no boxes to suppress; leave --nms out")
    return suppression_graph(
        spec.candidates,
        score_threshold=configs.SCORE_THRESHOLD,
        iou_threshold=configs.IOU_THRESHOLD,
        max_detections=configs.MAX_DETECTIONS,
    )


def _lowered(
    source: Source, options: ExportOptions, calibration: CalibrationSet | None
) -> tuple[ModelProto, PrecisionReport]:
    """The graph in its precision.

    Where the CPU computes in bfloat16, OpenVINO brings a float32 graph into it by itself, faster than one with casts.
    """
    by_runtime = options.runtime == "openvino" and cpu_has_bf16()
    precision = options.precision or "fp32"
    if precision not in PRECISIONS:
        raise InvalidOption(f"precision {precision!r} is unknown; there are: {', '.join(PRECISIONS)}")
    if by_runtime and options.precision in (None, "bf16"):
        return source.graph, PrecisionReport("bf16", "", "", 0, 0, (), 0.0)
    return convert(source.graph, precision, calibration, method=options.method)

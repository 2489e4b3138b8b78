"""From a source to a served model: made in a precision, measured, and published or refused."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from exporters import gate
from exporters.artefact import Artefact
from exporters.calibration import CalibrationSet, chosen, pictures_in, read_pictures
from exporters.evaluation import CocoDataset, SegmentationDataset
from exporters.gate import GateReport
from exporters.making import Making, made
from exporters.precision import PrecisionReport
from exporters.progress import Progress
from exporters.repository import publish
from exporters.source import Source
from reeltag.errors import InvalidOption


@dataclass(frozen=True)
class ExportOptions:
    """What is made of a source, and how right it must be."""

    making: Making = field(default_factory=Making)
    calibration: Path | None = None
    """Folder of pictures like those to come; needed for all but fp32."""
    annotated: CocoDataset | SegmentationDataset | None = None
    """To measure accuracy on; without it a lower precision is measured by how far it agrees with float32 on
    `calibration`."""
    max_drop: float | None = None
    """Points of AP or mIoU that may be lost; `gate.MAX_DROP` without it."""


@dataclass(frozen=True)
class ExportReport:
    """What was exported and published, and on what grounds."""

    artefact: Artefact
    agreement: str
    """How closely the float32 graph agrees with its source."""
    precision: PrecisionReport
    gate: GateReport | None
    """None where accuracy was not measured: in fp32 without annotated pictures, of classifiers and shot detectors."""
    megabytes: float
    written: list[str]
    """Folders of the model repository; empty where it had all of it already."""

    def __str__(self) -> str:
        done = f"published {', '.join(self.written)}" if self.written else "the model repository has it already"
        return f"{self.artefact.spec.name}: {self.megabytes:.1f} MB, {self.agreement}; {done}"


def export(
    source: Source, options: ExportOptions | None = None, *, target: Path, progress: Progress | None = None
) -> ExportReport:
    """Make an artefact of a source, measure it, and publish it first of its task.

    Args:
        source: What to export.
        options: Without it float32 for OpenVINO.
        target: Model repository.
        progress: Told of the steps of what takes long.

    Raises:
        InvalidOption: An option is out of range, or does not go with another.
        InputError: The calibration pictures are missing, too few or unreadable, or the network answers NaN to them.
        AccuracyLost: More than is allowed; nothing was published.
        SetupError: The graph disagrees with its source, or TensorRT is missing or failed.
        OutputError: The artefact cannot be written.
        ModelRepositoryError: The model repository cannot be written; what was served before still is.
    """
    options = options or ExportOptions()
    agreement = source.agreement()
    with tempfile.TemporaryDirectory(prefix="reeltag-export-") as folder:
        calibration = _calibration(source, options)
        artefact, report = made(source, options.making, calibration, Path(folder), progress=progress)
        measured = _measured(source, artefact, options)
        if measured is not None:
            artefact = measured.stamped(artefact)
        megabytes = artefact.file.stat().st_size / 1e6
        written = publish(target, [artefact])
    return ExportReport(artefact, agreement, report, measured, megabytes, written)


def _calibration(source: Source, options: ExportOptions) -> CalibrationSet | None:
    if options.calibration is None or options.making.precision == "fp32":
        return None
    if source.spec.view is None:
        raise InvalidOption(f"{source.spec.name} takes windows of frames, not pictures; leave the calibration out")
    return read_pictures(chosen(pictures_in(options.calibration)), source.spec.view)


def _measured(source: Source, artefact: Artefact, options: ExportOptions) -> GateReport | None:
    if source.spec.task not in ("detect", "segment"):
        if options.annotated is not None:
            raise InvalidOption(
                f"{source.spec.name} is neither a detector nor a segmenter: its accuracy is not measured"
            )
        return None
    if options.annotated is not None:
        return gate.check(artefact, source.reference, options.annotated, max_drop=options.max_drop)
    if options.calibration is None or options.making.precision == "fp32":
        return None
    files = chosen(pictures_in(options.calibration))
    return gate.check(artefact, source.reference, files, max_drop=options.max_drop)

"""From a source to a served model: made in a precision, measured, and published or refused."""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import onnx

from exporters.evaluation import CocoDataset
from exporters.finetuning.qat import check_trainable
from exporters.gate import accuracy
from exporters.gate.accuracy import Annotated, GateReport, check_max_drop
from exporters.gate.own_path import OwnPath, fitted
from exporters.graphs.compare import sample_frames
from exporters.machine import processor
from exporters.making import Making, made
from exporters.plans import tensorrt_api
from exporters.precision.calibration import CalibrationSet, chosen, pictures_in, read_pictures
from exporters.precision.convert import Precision, PrecisionReport
from exporters.precision.fastest import Candidate, Speed, fastest
from exporters.progress import Progress
from exporters.publishing import reference
from exporters.publishing.artefact import REFERENCE_FILE, Artefact, cpu_has_bf16
from exporters.publishing.configs import network_outputs
from exporters.publishing.placing import Machine
from exporters.publishing.repository import check_target, publish
from exporters.sources.source import Source
from reeltag.contract import CANDIDATES, CLASS_MAP, CUTS, SCORES
from reeltag.errors import AccuracyLost, InvalidOption
from reeltag.gpu import look
from reeltag.measured import Measured

_ONE_SECONDS: Final = 1.0
"""How long the speed of an artefact is measured that is compared with no other."""
_COMPARED: Final = 8
"""On so many of the user's pictures the float32 graph is compared with its source."""
_GPU: Final = "cuda:0"


@dataclass(frozen=True)
class ExportOptions:
    """What is made of a source, and how right it must be."""

    making: Making = field(default_factory=Making)
    calibration: Path | None = None
    """Folder of pictures like those to come; needed for all but fp32."""
    annotated: Annotated | None = None
    """To measure accuracy on; without it a lower precision is measured by how far it agrees with float32 on
    `calibration`."""
    max_drop: float | None = None
    """Points of the task's `accuracy.UNITS` that may be lost; `accuracy.MAX_DROP` without it."""
    is_fastest_wanted: bool = False
    """Whether the fastest precision on this machine is chosen of those that lose little enough, whatever `making` says
    of it."""
    is_default: bool = False
    """Whether it becomes the default of its task where another network was exported before."""

    @property
    def is_lowered(self) -> bool:
        """Whether any precision but float32 is made."""
        return self.is_fastest_wanted or self.making.precision != "fp32"


@dataclass(frozen=True)
class ExportReport:
    """What was exported and published, and on what grounds."""

    artefact: Artefact
    agreement: str
    """How closely the graph agrees with its source before its precision is lowered; what is published says `gate`."""
    precision: PrecisionReport
    gate: GateReport | None
    """Of what is published; None where accuracy was not measured: in fp32 without annotated pictures."""
    speeds: tuple[Speed, ...]
    """Of the precisions that were tried, the fastest first; empty for a runtime that is not here."""
    refused: tuple[str, ...]
    """Why faster ones were not taken."""
    megabytes: float
    written: list[str]
    """Folders of the model repository; empty where it had all of it already."""

    def __str__(self) -> str:
        name, passport = self.artefact.spec.name, self.artefact.passport
        done = f"published {', '.join(self.written)}" if self.written else "the model repository has it already"
        said = [f"{self.megabytes:.1f} MB", *([str(passport.measured)] if passport.measured else [])]
        compared = name if passport.precision == "fp32" else f"{name}, not yet in {passport.precision},"
        return (
            f"{compared} against its source: {self.agreement}\n"
            f"{name} in {passport.precision}: {', '.join(said)}; {done}"
        )


def export(
    source: Source, options: ExportOptions | None = None, *, target: Path, progress: Progress | None = None
) -> ExportReport:
    """Make an artefact of a source, measure it, and publish it.

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
    check_target(target)
    makings = _makings(source, options)
    _check_gate(source, options)
    calibration = _calibration(source, options)
    agreement = source.agreement(_compared_pictures(source, options))
    with tempfile.TemporaryDirectory(prefix="reeltag-export-") as folder:
        made_ones: dict[str, tuple[Artefact, PrecisionReport]] = {}
        for making in makings:
            own = Path(folder) / making.precision
            made_ones[making.precision] = made(source, making, calibration, own, progress=progress)
        artefacts = [artefact for artefact, _ in made_ones.values()]
        speeds = _speeds(source, artefacts)
        order = [one.precision for one in speeds] or list(made_ones)
        chosen, measured, refused = _first_right(
            source, [made_ones[precision][0] for precision in order], options, progress
        )
        if measured is not None:
            chosen = measured.stamped(chosen)
        chosen = _with_reference(source, _with_speed(chosen, speeds), options, Path(folder))
        megabytes = chosen.file.stat().st_size / 1e6
        written = publish(target, [chosen], beside=not options.is_default)
    report = made_ones[chosen.passport.precision][1]
    return ExportReport(chosen, agreement, report, measured, speeds, refused, megabytes, written)


def _makings(source: Source, options: ExportOptions) -> list[Making]:
    if source.spec.view is None and (options.is_lowered or options.calibration is not None):
        raise InvalidOption(
            f"{source.spec.name} takes windows of frames, not pictures, on which a lower precision could be calibrated "
            "and measured; it is exported in fp32: leave --precision and --calibration out"
        )
    if options.making.runtime == "tensorrt":
        tensorrt_api.load(options.making.builder or tensorrt_api.installed())  # rather than minutes later
    if options.making.fine_tuning is not None:
        check_trainable(source.graph, sample_frames(source.spec, 1))
    if not options.is_fastest_wanted:
        return [options.making]
    _check_measurable(options.making.runtime)
    if options.calibration is None:
        raise InvalidOption("to choose a precision lower ones are tried, too; give calibration pictures")
    lower: list[Precision] = ["bf16", "int8"] if cpu_has_bf16() else ["int8"]
    if options.making.runtime == "onnxruntime":
        lower = ["fp16"]  # what CUDA's provider computes as fast as the GPU can, see `publishing.placing`
    without = replace(options.making, precision="fp32", fine_tuning=None)
    tuning = options.making.fine_tuning
    return [without, *(replace(without, precision=p, fine_tuning=tuning if p == "int8" else None) for p in lower)]


def _check_measurable(runtime: str) -> None:
    """Refuse to choose the fastest precision where nothing could measure it."""
    if runtime == "tensorrt":
        raise InvalidOption(
            "the fastest precision is measured in OpenVINO on the CPU or in ONNX Runtime on the GPU, not in tensorrt; "
            "name one"
        )
    if runtime == "onnxruntime":
        problem = Machine.here().problem_with(runtime)
        if problem:
            raise InvalidOption(
                "the fastest precision for onnxruntime is measured on an NVIDIA GPU, which cannot be used "
                f"({problem}); name one, or take --runtime openvino"
            )


def _check_gate(source: Source, options: ExportOptions) -> None:
    """Refuse a limit or annotations that nothing would be measured by."""
    if options.annotated is None and options.max_drop is None:
        return
    check_max_drop(options.max_drop, source.spec.task)
    if options.annotated is None and not options.is_lowered:
        raise InvalidOption(
            f"--max-drop {options.max_drop:g} would limit nothing: fp32 is measured on annotated pictures alone; give "
            "them with --images, or leave it out"
        )


def _compared_pictures(source: Source, options: ExportOptions) -> npt.NDArray[np.uint8] | None:
    """Some of the user's pictures to compare the float32 graph on, uint8 `(N, H, W, 3)`."""
    annotated = options.annotated
    if annotated is not None:
        files = list(annotated.files.values() if isinstance(annotated, CocoDataset) else annotated.pictures)
    elif options.calibration is not None:
        files = pictures_in(options.calibration)
    else:
        return None
    return np.stack([fitted(file, source.spec.view)[0] for file in chosen(files, _COMPARED)])


def _speeds(source: Source, artefacts: Sequence[Artefact]) -> tuple[Speed, ...]:
    if len(artefacts) > 1 and artefacts[0].passport.runtime == "onnxruntime":
        graphs = [Candidate(artefact.passport.precision, onnx.load(artefact.file)) for artefact in artefacts]
        return fastest(graphs, source.spec.input_shape, device=_GPU)
    candidates = [
        Candidate(artefact.passport.precision, onnx.load(artefact.file), artefact.openvino_precision)
        for artefact in artefacts
        if artefact.passport.runtime == "openvino"
    ]
    if not candidates or importlib.util.find_spec("openvino") is None:
        return ()
    if len(candidates) == 1:
        return fastest(candidates, source.spec.input_shape, seconds=_ONE_SECONDS, rounds=1)
    return fastest(candidates, source.spec.input_shape)


def _first_right(
    source: Source, artefacts: Sequence[Artefact], options: ExportOptions, progress: Progress | None
) -> tuple[Artefact, GateReport | None, tuple[str, ...]]:
    """The first that loses no more than is allowed, what it loses, and why those before it were not taken."""
    first, *others = artefacts
    try:
        return first, _measured(source, first, options, progress), ()
    except AccuracyLost as error:
        if not others:
            raise
        chosen, measured, refused = _first_right(source, others, options, progress)
        return chosen, measured, (str(error), *refused)


def _with_speed(artefact: Artefact, speeds: Sequence[Speed]) -> Artefact:
    """With its speed in its passport, where that was measured."""
    rates = {one.precision: one.images_per_second for one in speeds}
    passport = artefact.passport
    if passport.precision not in rates:
        return artefact
    known = passport.measured or Measured()
    speed = {"images_per_second": round(rates[passport.precision], 1), "machine": _measured_on(passport.runtime)}
    return replace(artefact, passport=passport.model_copy(update={"measured": known.model_copy(update=speed)}))


def _measured_on(runtime: str) -> str:
    gpu = look().gpu if runtime == "onnxruntime" else None
    return gpu.name if gpu is not None else processor()


def _with_reference(source: Source, artefact: Artefact, options: ExportOptions, folder: Path) -> Artefact:
    """With what it answers to some frames, or where it cannot be run here its source; see `publishing.reference`."""
    frames, expected, _ = source.telling_frames(_compared_pictures(source, options))
    frames, expected = frames[: reference.PICTURES], expected[: reference.PICTURES]
    if artefact.passport.runtime == "openvino" and importlib.util.find_spec("openvino") is not None:
        said = OwnPath(artefact).run(frames)
        answers = {name: said[name] for name in network_outputs(artefact.spec, artefact.passport.nms)}
    else:
        name = {"detect": CANDIDATES, "classify": SCORES, "segment": CLASS_MAP, "shots": CUTS}[source.spec.task]
        answers = {name: expected[:, : source.spec.candidates] if name == CANDIDATES else expected}
    path = folder / REFERENCE_FILE
    path.write_bytes(reference.packed(frames, answers))
    return replace(artefact, reference=path)


def _calibration(source: Source, options: ExportOptions) -> CalibrationSet | None:
    if not options.is_lowered:
        return None
    if options.calibration is None:
        raise InvalidOption(
            f"{options.making.precision} needs pictures like those to come, without labels: --calibration FOLDER"
        )
    assert source.spec.view is not None
    return read_pictures(chosen(pictures_in(options.calibration)), source.spec.view)


def _measured(
    source: Source, artefact: Artefact, options: ExportOptions, progress: Progress | None
) -> GateReport | None:
    if options.annotated is not None:
        pictures: accuracy.Pictures = options.annotated
    elif options.calibration is not None and artefact.passport.precision != "fp32":
        pictures = chosen(pictures_in(options.calibration))
    else:
        return None
    return accuracy.check(artefact, source.reference, pictures, max_drop=options.max_drop, progress=progress)

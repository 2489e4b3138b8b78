"""The ladders' steps in int8: as calibration makes it, and trained for it (QAT), here or before."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import onnx
from onnx import ModelProto

from exporters.bench.rung import Progress
from exporters.bench.subject import cut
from exporters.catalogue.entries import ModelSpec
from exporters.finetuning.options import FineTuning
from exporters.graphs.heads import network_outputs
from exporters.precision.calibration import CalibrationSet
from exporters.precision.convert import convert
from exporters.publishing.passport import PASSPORT_FILE, read_passport
from reeltag.contract import CANDIDATES, FRAMES
from reeltag.errors import InputError

_EXPORT: Final = "reeltag export {name} --precision int8 --qat --calibration FOLDER"
_TRAINED: Final = "fine-tuning"
"""In the passport's calibration method of a graph that was trained."""


class Trained(NamedTuple):
    """An int8 graph that a user had trained."""

    graph: ModelProto
    remark: str
    """Where it comes from, for people."""


class Step(NamedTuple):
    """A step in int8; without a graph it is skipped."""

    name: str
    graph: ModelProto | None = None
    skipped: str = ""
    remark: str = ""


def int8_steps(
    graph: ModelProto, calibration: CalibrationSet | None, qat: FineTuning | Trained | None, progress: Progress
) -> Iterator[Step]:
    """First int8 by calibration, then by training.

    Args:
        graph: Composed, in float32.
        calibration: Pictures to calibrate and train on.
        qat: How to train here, or what was trained before.
        progress: Told what is being done.
    """
    if calibration is None:
        yield Step("+ int8", skipped="no pictures to calibrate on were given")
    else:
        progress("+ int8: calibration")
        yield Step("+ int8", convert(graph, "int8", calibration)[0])
    if isinstance(qat, Trained):
        yield Step("+ QAT", qat.graph, remark=qat.remark)
    elif qat is None or calibration is None:
        yield Step("+ QAT", skipped="neither --qat, which takes minutes, nor --qat-graph was said")
    else:
        yield _trained_here(graph, calibration, qat, progress)


def read_trained(file: Path, spec: ModelSpec) -> Trained:
    """An int8 graph that was trained before: the `model.onnx` that `reeltag export --precision int8 --qat` publishes.

    Args:
        file: The graph; where the passport of a model repository lies above it, that is asked, too.
        spec: The network that it has to be.

    Raises:
        InputError: It is no such graph; the text says why.
    """
    how = _EXPORT.format(name=spec.name)
    try:
        graph = onnx.load(str(file))
    except Exception as error:  # protobuf and the file system raise many types
        raise InputError(f"{file} cannot be read as an ONNX graph ({error}); {how} makes one") from error
    if not any(node.op_type == "QuantizeLinear" for node in graph.graph.node):
        raise InputError(f"{file} is not in int8: it has no QuantizeLinear; {how} makes such a graph")
    inputs = {value.name: [d.dim_value for d in value.type.tensor_type.shape.dim] for value in graph.graph.input}
    shape = inputs.get(FRAMES, [])[1:]
    if tuple(shape) != spec.input_shape:
        raise InputError(
            f"{file} takes {FRAMES} of {'x'.join(map(str, shape)) or 'no shape'}, and {spec.name} of "
            f"{'x'.join(map(str, spec.input_shape))}; {how} makes one that fits"
        )
    made = {name for node in graph.graph.node for name in node.output}
    wanted = [*network_outputs(spec), *([CANDIDATES] if spec.task == "detect" else ())]
    if missing := [name for name in wanted if name not in made]:
        raise InputError(f"{file} is no {spec.name}: it does not compute {', '.join(missing)}; {how} makes one")
    if spec.task == "detect" and [output.name for output in graph.graph.output] != [CANDIDATES]:
        graph = cut(graph, [CANDIDATES])  # suppression in the graph is a step of its own
    return Trained(graph, f"{file.name} as it was given{_said_by_passport(file)}")


def _said_by_passport(file: Path) -> str:
    folder = file.parent.parent
    if not (folder / PASSPORT_FILE).is_file():
        return "; it does not say how it was trained"
    method = read_passport(folder).calibration_method
    if _TRAINED not in method:
        raise InputError(f"{file} was calibrated ({method or 'by nothing'}) and not trained, says its passport")
    return f"; {method}, says its passport"


def _trained_here(graph: ModelProto, calibration: CalibrationSet, options: FineTuning, progress: Progress) -> Step:
    def tell(_phase: str, done: int, steps: int) -> None:
        progress(f"+ QAT: step {done} of {steps}")

    trained, report = convert(graph, "int8", calibration, fine_tuning=options, progress=tell)
    remark = f"{options.steps} steps on {report.calibration_pictures} pictures; {report.method}"
    return Step("+ QAT", trained, remark=remark)

"""The talk's ladder: from a plain script to all that reeltag does, with pictures a second and AP of each rung."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import torch
from onnx import ModelProto

from exporters.bench.int8_steps import Trained, int8_steps, read_trained
from exporters.bench.rung import Progress, Rung, measure_accuracy
from exporters.bench.runners import OnnxRuntimeRunner, openvino_runners
from exporters.bench.subject import Subject, cut, subject_of
from exporters.bench.ways import (
    Way,
    candidates_finish,
    class_map_finish,
    plain_finish,
    plain_reader,
    runner_network,
    scaled_reader,
    suppressed_finish,
    torch_network,
)
from exporters.catalogue.entries import ModelSpec, model_spec
from exporters.evaluation.album import Album, read_album, read_calibration
from exporters.finetuning.options import FineTuning
from exporters.graphs.heads import network_outputs
from exporters.graphs.suppression import suppressing
from exporters.machine import cores, processor
from exporters.precision.calibration import CalibrationSet
from exporters.publishing.artefact import cpu_has_bf16
from exporters.sources.checkpoint_source import Checkpoint
from reeltag.errors import InvalidOption

ROUNDS: Final = 5
"""Every rung is measured once in each, so that what disturbs the machine disturbs all."""
_FEWEST_PICTURES: Final = 4


@dataclass(frozen=True)
class _Built:
    """What the rungs so far have settled."""

    graph: ModelProto
    precision: str = "f32"
    """Of OpenVINO's float arithmetic."""


class Ladder:
    """Builds and measures the rungs one after the other; `rungs` has what was measured so far at any time.

    Args:
        subject: A detector or segmenter.
        album: Pictures to measure on.
        calibration: Pictures for int8, none of which is measured on; without it there is no int8.
        qat: How int8 is trained on the same pictures, or what was trained before; without it int8 stays as it was
            calibrated.
    """

    def __init__(
        self,
        subject: Subject,
        album: Album,
        calibration: CalibrationSet | None,
        qat: FineTuning | Trained | None = None,
    ) -> None:
        self.rungs: list[Rung] = []
        self._subject, self._spec = subject, subject.spec
        self._album, self._calibration, self._qat = album, calibration, qat
        self._category_ids = album.dataset.category_ids(self._spec.labels) if album.dataset else {}

    def climb(self, seconds: float, progress: Progress) -> None:
        """Build the rungs and measure the accuracy of each, then their speed.

        Args:
            seconds: For the speed of a rung, all rounds together.
            progress: Told what is being done.
        """
        torch.set_num_threads(cores())
        for rung in self._build(progress):
            self.rungs.append(rung)
            if rung.ways and self._album.dataset is not None:
                progress(f"{rung.name}: AP")
                measure_accuracy(rung, self._album, self._category_ids)
        self._measure_speed(list(self._album.pictures.values()), seconds, progress)

    @property
    def setting(self) -> str:
        """What was measured on, for people."""
        spec = self._spec
        return f"{len(self._album.pictures)} pictures to {spec.height}x{spec.width}; {processor()}"

    def table(self) -> list[dict[str, str]]:
        """The rungs with their columns, for people."""
        cells = []
        for rung in self.rungs:
            row = {"step": rung.name, **rung.speeds(self.rungs[0])}
            if self._album.dataset is not None:
                row["AP"] = "" if rung.average_precision is None else f"{100 * rung.average_precision:.1f}"
            cells.append(row)
        return cells

    def notes(self) -> list[str]:
        """What was left out, and why."""
        return [note for rung in self.rungs for note in rung.notes]

    def _measure_speed(self, pictures: list[bytes], seconds: float, progress: Progress) -> None:
        rungs = [rung for rung in self.rungs if rung.ways]
        slowest = min(_rate(rung.ways, pictures[:_FEWEST_PICTURES]) for rung in rungs)
        count = min(len(pictures), max(_FEWEST_PICTURES, int(seconds / ROUNDS * slowest)))
        for number in range(1, ROUNDS + 1):
            for rung in rungs:
                progress(f"round {number} of {ROUNDS}, {count} pictures each: {rung.name}")
                rung.rates.append(_rate(rung.ways, pictures[:count]))

    def _build(self, progress: Progress) -> Iterator[Rung]:
        assert self._spec.view is not None
        read, finish = plain_reader(self._spec.view), plain_finish(self._spec, None)
        built = _Built(self._subject.graph)
        yield self._plain()
        yield Rung("+ OpenVINO", [Way(read, self._compiled(built), finish)])
        if cpu_has_bf16():
            built = replace(built, precision="bf16")
            yield Rung("+ bf16", [Way(read, self._compiled(built), finish)])
        else:
            yield Rung("+ bf16", skipped="this CPU does not compute in bfloat16")
        for step in int8_steps(self._subject.graph, self._calibration, self._qat, progress):
            ways = []
            if step.graph is not None:
                built = replace(built, graph=step.graph)
                ways = [Way(read, self._compiled(built), finish)]
            yield Rung(step.name, ways, skipped=step.skipped, remark=step.remark)
        yield from self._after_precision(built)

    def _plain(self) -> Rung:
        spec, network = self._spec, self._subject.network
        assert spec.view is not None
        read = plain_reader(spec.view)
        if network is not None:
            return Rung("PyTorch", [Way(read, torch_network(spec, network), plain_finish(spec, network))])
        runner = OnnxRuntimeRunner(self._before_decoding(self._subject.graph), spec.input_shape)
        return Rung("ONNX Runtime", [Way(read, runner_network(runner), plain_finish(spec, None))])

    def _compiled(self, built: _Built) -> Callable[..., Any]:
        graph = self._before_decoding(built.graph)
        return runner_network(openvino_runners(graph, self._spec.input_shape, precision=built.precision)[0])

    def _before_decoding(self, graph: ModelProto) -> ModelProto:
        return cut(graph, network_outputs(self._spec))

    def _after_precision(self, built: _Built) -> Iterator[Rung]:
        spec = self._spec
        before = replace(built, graph=self._before_decoding(built.graph))
        yield Rung("+ scaled decoding in place", self._in_place(before, plain_finish(spec, None)))
        if spec.task == "segment":
            name, whole, finish = "+ class map in the graph", built, class_map_finish(spec)
            yield Rung(name, self._in_place(whole, finish))
        else:
            yield Rung("+ decoding in the graph", self._in_place(built, candidates_finish))
            whole, finish = replace(built, graph=suppressing(built.graph)), suppressed_finish
            yield Rung("+ suppression in the graph", self._in_place(whole, finish))
        if cores() > 1:
            yield Rung(f"+ {cores()} pictures at once", self._in_place(whole, finish, streams=cores()))

    def _in_place(self, built: _Built, finish: Callable[..., Any], streams: int = 1) -> list[Way]:
        """Ways that decode into the runtime's own memory."""
        view, shape = self._spec.view, self._spec.input_shape
        assert view is not None
        runners = openvino_runners(built.graph, shape, precision=built.precision, streams=streams)
        return [Way(scaled_reader(view, runner.frames), runner_network(runner), finish) for runner in runners]


def open_ladder(
    name: str,
    checkpoint: Checkpoint | None,
    images: Path,
    *,
    annotations: Path | None = None,
    calibration: Path | None = None,
    qat: FineTuning | Path | None = None,
) -> Ladder:
    """A network, and the pictures to measure it on, all read and checked.

    Args:
        name: In the catalogue.
        checkpoint: Its weights, where it comes without any.
        images: Folder of the pictures.
        annotations: COCO JSON of their boxes; without it AP is left out.
        calibration: Folder of other pictures; without it int8 is left out.
        qat: How int8 is trained on these, or the graph of what was trained before.

    Raises:
        UnknownModel: The catalogue has no such network.
        InvalidOption: The network is neither detector nor segmenter, lacks a checkpoint, or has no AP.
        InputError: The checkpoint or the graph does not fit, a picture is missing, damaged or both calibrated and
            measured on, or no category of the annotations is a class of the network.
    """
    check_measurable(name, checkpoint, annotations)
    album = read_album(images, annotations)
    subject = subject_of(name, checkpoint)
    pictures, trained = read_training(subject.spec, album, calibration, qat)
    return Ladder(subject, album, pictures, trained)


def check_measurable(name: str, checkpoint: Checkpoint | None, annotations: Path | None) -> None:
    """Refuse what has no ladder, before anything is read; raises as `open_ladder`."""
    spec = model_spec(name)
    if spec.task not in ("detect", "segment"):
        raise InvalidOption(
            f"the ladder is for detectors and segmenters, and {name} is neither; leave the images out to measure the "
            "network alone"
        )
    if spec.source == "checkpoint" and checkpoint is None:
        raise InvalidOption(f"{name} comes without weights, and random ones find nothing in images: --checkpoint FILE")
    if spec.task == "segment" and annotations is not None:
        raise InvalidOption(f"average precision is of boxes, and {name} makes class maps; leave the annotations out")


def read_training(
    spec: ModelSpec, album: Album, calibration: Path | None, qat: FineTuning | Path | None
) -> tuple[CalibrationSet | None, FineTuning | Trained | None]:
    """The pictures to calibrate and train on, and what was trained before; raises as `open_ladder`."""
    assert spec.view is not None
    pictures = None if calibration is None else read_calibration(calibration, spec.view, album)
    return pictures, read_trained(qat, spec) if isinstance(qat, Path) else qat


def _rate(ways: Sequence[Callable[[bytes], Any]], pictures: Sequence[bytes]) -> float:
    """Pictures a second, from bytes to results."""
    rest = iter(pictures)  # each picture goes to the way that is free first: `next` of a list's iterator is atomic

    def work(way: Callable[[bytes], Any]) -> None:
        for data in rest:
            way(data)

    began = time.perf_counter()
    if len(ways) == 1:
        work(ways[0])
    else:
        with ThreadPoolExecutor(len(ways)) as pool:
            list(pool.map(work, ways))
    return len(pictures) / (time.perf_counter() - began)

"""The talk's ladder: from a plain script to all that reeltag does, with pictures a second and AP of each rung."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import torch
from onnx import ModelProto

from exporters.bench.runners import OnnxRuntimeRunner, Runner, openvino_runners, plan_runner
from exporters.bench.subject import Subject, cut, subject_of
from exporters.bench.timing import quantiles
from exporters.bench.watts import ABSENT, Watts
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
from exporters.catalogue.entries import model_spec
from exporters.evaluation.album import Album, read_album, read_calibration
from exporters.evaluation.coco import Found, average_precision
from exporters.evaluation.detection import coco_results
from exporters.finetuning.options import FineTuning
from exporters.graphs.heads import network_outputs
from exporters.graphs.suppression import suppressing
from exporters.machine import cores, processor
from exporters.plans.build import BatchProfile, PlanOptions, build_plan
from exporters.precision.calibration import CalibrationSet
from exporters.precision.convert import convert
from exporters.publishing.artefact import cpu_has_bf16
from exporters.sources.checkpoint_source import Checkpoint
from reeltag.errors import InvalidOption

ROUNDS: Final = 5
"""Every rung is measured once in each, so that what disturbs the machine disturbs all."""
_FEWEST_PICTURES: Final = 4
Progress = Callable[[str], None]
"""Told what is being done, for people."""


@dataclass
class Rung:
    """A step of the ladder: one thing more than the step before."""

    name: str
    ways: Sequence[Way] = ()
    """From bytes to detections; several work at the same time."""
    skipped: str = ""
    """Why this machine or call has no such step; the next adds to the step before."""
    average_precision: float | None = None
    """COCO's AP, 0 to 1."""
    rates: list[float] = field(default_factory=list)
    """Pictures a second, of each round."""
    durations: list[float] = field(default_factory=list)
    """Seconds of each picture of all rounds, where they are taken one by one."""
    watts: list[float] = field(default_factory=list)
    """Mean power of each round, where it can be read."""

    @property
    def pictures_per_second(self) -> float | None:
        """Median of the rounds; none before the first."""
        return statistics.median(self.rates) if self.rates else None


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
        fine_tuning: Of int8 on the same pictures; without it int8 stays as it was calibrated.
        latency: Measured for a device beside a camera: single pictures, one after another, on its GPU where there is
            one, with quantiles of their times and the power.
    """

    def __init__(
        self,
        subject: Subject,
        album: Album,
        calibration: CalibrationSet | None,
        fine_tuning: FineTuning | None = None,
        *,
        latency: bool = False,
    ) -> None:
        self._latency = latency
        self._plans = latency and torch.cuda.is_available()
        self.rungs: list[Rung] = []
        self._subject, self._spec = subject, subject.spec
        self._album, self._calibration, self._fine_tuning = album, calibration, fine_tuning
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
                rung.average_precision = _average_precision(rung, self._album, self._category_ids)
        self._measure_speed(list(self._album.pictures.values()), seconds, progress)

    @property
    def setting(self) -> str:
        """What was measured on, for people."""
        spec = self._spec
        return f"{len(self._album.pictures)} pictures to {spec.height}x{spec.width}; {processor()}"

    def table(self) -> list[dict[str, str]]:
        """The rungs with their columns, for people; `times` is how many times as fast as the first."""
        cells = []
        for rung in self.rungs:
            speed, first = rung.pictures_per_second, self.rungs[0].pictures_per_second
            row = {"step": rung.name, "pictures/s": f"{speed:.1f}" if speed else "-"}
            row["of rounds"] = f"{min(rung.rates):.1f} to {max(rung.rates):.1f}" if speed else ""
            row["times"] = f"{speed / first:.2f}" if speed and first else ""
            if self._latency:
                late = quantiles(rung.durations) if rung.durations else None
                row["p50 / p95 / p99 ms"] = " / ".join(f"{1e3 * each:.1f}" for each in late) if late else ""
                row["W"] = f"{statistics.fmean(rung.watts):.1f}" if rung.watts else "-"
            if self._album.dataset is not None:
                row["AP"] = "" if rung.average_precision is None else f"{100 * rung.average_precision:.1f}"
            cells.append(row)
        return cells

    def notes(self) -> list[str]:
        """What was left out, and why."""
        said = [f"{rung.name}: {rung.skipped}" for rung in self.rungs if rung.skipped]
        return said + [ABSENT] * (self._latency and not any(rung.watts for rung in self.rungs))

    def _measure_speed(self, pictures: list[bytes], seconds: float, progress: Progress) -> None:
        rungs = [rung for rung in self.rungs if rung.ways]
        slowest = min(_rate(rung.ways, pictures[:_FEWEST_PICTURES]) for rung in rungs)
        count = min(len(pictures), max(_FEWEST_PICTURES, int(seconds / ROUNDS * slowest)))
        for number in range(1, ROUNDS + 1):
            for rung in rungs:
                progress(f"round {number} of {ROUNDS}, {count} pictures each: {rung.name}")
                with Watts() as watts:
                    rung.rates.append(_rate(rung.ways, pictures[:count], rung.durations))
                if watts.mean is not None:
                    rung.watts.append(watts.mean)

    def _build(self, progress: Progress) -> Iterator[Rung]:
        assert self._spec.view is not None
        read, finish = plain_reader(self._spec.view), plain_finish(self._spec, None)
        built = _Built(self._subject.graph)
        yield self._plain()
        yield Rung("+ TensorRT" if self._plans else "+ OpenVINO", [Way(read, self._compiled(built), finish)])
        if self._plans:
            yield from self._halved(built, read, finish)
        elif cpu_has_bf16():
            built = replace(built, precision="bf16")
            yield Rung("+ bf16", [Way(read, self._compiled(built), finish)])
        else:
            yield Rung("+ bf16", skipped="this CPU does not compute in bfloat16")
        if self._calibration is None:
            yield Rung("+ int8", skipped="no pictures to calibrate on were given")
        else:
            progress("+ int8: calibration")
            built = replace(built, graph=convert(self._subject.graph, "int8", self._calibration)[0])
            yield Rung("+ int8", [Way(read, self._compiled(built), finish)])
        if self._fine_tuning is None:
            yield Rung("+ fine-tuning", skipped="it takes minutes, and --qat was not said")
        else:
            built = replace(built, graph=self._fine_tuned(self._fine_tuning, progress))
            yield Rung("+ fine-tuning", [Way(read, self._compiled(built), finish)])
        yield from self._after_precision(built)

    def _halved(self, built: _Built, read: Callable[..., Any], finish: Callable[..., Any]) -> Iterator[Rung]:
        """fp16 is in the graph, and chosen on pictures; int8 is made of the graph in float32."""
        if self._calibration is None:
            yield Rung("+ fp16", skipped="no pictures to choose its nodes on were given")
            return
        half = replace(built, graph=convert(self._subject.graph, "fp16", self._calibration)[0])
        yield Rung("+ fp16", [Way(read, self._compiled(half), finish)])

    def _fine_tuned(self, options: FineTuning, progress: Progress) -> ModelProto:
        def tell(_phase: str, done: int, steps: int) -> None:
            progress(f"+ fine-tuning: step {done} of {steps}")

        graph = self._subject.graph
        return convert(graph, "int8", self._calibration, fine_tuning=options, progress=tell)[0]

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
        return runner_network(self._runners(graph, built.precision)[0])

    def _runners(self, graph: ModelProto, precision: str, streams: int = 1) -> Sequence[Runner]:
        shape = self._spec.input_shape
        if self._plans:
            plan = build_plan(graph.SerializeToString(), PlanOptions(batch=BatchProfile(1, 1, 1), input_shape=shape))
            return [plan_runner(plan, shape)]
        return openvino_runners(graph, shape, precision=precision, streams=streams)

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
        if cores() > 1 and not self._latency:
            yield Rung(f"+ {cores()} pictures at once", self._in_place(whole, finish, streams=cores()))

    def _in_place(self, built: _Built, finish: Callable[..., Any], streams: int = 1) -> list[Way]:
        """Ways that decode into the runtime's own memory."""
        view = self._spec.view
        assert view is not None
        runners = self._runners(built.graph, built.precision, streams)
        return [Way(scaled_reader(view, runner.frames), runner_network(runner), finish) for runner in runners]


def open_ladder(
    name: str,
    checkpoint: Checkpoint | None,
    images: Path,
    *,
    annotations: Path | None = None,
    calibration: Path | None = None,
    fine_tuning: FineTuning | None = None,
    latency: bool = False,
) -> Ladder:
    """A network, and the pictures to measure it on, all read and checked.

    Args:
        name: In the catalogue.
        checkpoint: Its weights, where it comes without any.
        images: Folder of the pictures.
        annotations: COCO JSON of their boxes; without it AP is left out.
        calibration: Folder of other pictures; without it int8 is left out.
        fine_tuning: Of int8 on these pictures.
        latency: As `Ladder`.

    Raises:
        UnknownModel: The catalogue has no such network.
        InvalidOption: The network is neither detector nor segmenter, lacks a checkpoint, or has no AP.
        InputError: The checkpoint does not fit, a picture is missing, damaged or both calibrated and measured on, or
            no category of the annotations is a class of the network.
    """
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
    album = read_album(images, annotations)
    subject = subject_of(name, checkpoint)
    assert subject.spec.view is not None
    pictures = None if calibration is None else read_calibration(calibration, subject.spec.view, album)
    return Ladder(subject, album, pictures, fine_tuning, latency=latency)


def _average_precision(rung: Rung, album: Album, category_ids: dict[int, int]) -> float:
    assert album.dataset is not None
    found: list[Found] = []
    for image_id, data in album.pictures.items():
        found += coco_results(image_id, rung.ways[0](data), category_ids)
    return average_precision(album.dataset.truth, found)["AP"]


def _rate(ways: Sequence[Way], pictures: Sequence[bytes], durations: list[float] | None = None) -> float:
    """Pictures a second, from bytes to results; of a single way also the time of each."""
    rest = iter(pictures)  # each picture goes to the way that is free first: `next` of a list's iterator is atomic

    def work(way: Way) -> None:
        for data in rest:
            before = time.perf_counter()
            way(data)
            if durations is not None and len(ways) == 1:
                durations.append(time.perf_counter() - before)

    began = time.perf_counter()
    if len(ways) == 1:
        work(ways[0])
    else:
        with ThreadPoolExecutor(len(ways)) as pool:
            list(pool.map(work, ways))
    return len(pictures) / (time.perf_counter() - began)

"""The talk's ladder on a device beside a camera: frames a second, latencies, AP and power of each rung."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import torch

from exporters.bench.camera_frames import CameraFrame, camera_frame, drawn_album
from exporters.bench.camera_steps import CameraSteps, OpenPath
from exporters.bench.device import Device, this_device
from exporters.bench.int8_steps import Trained
from exporters.bench.ladder import ROUNDS, check_measurable, read_training
from exporters.bench.rung import Progress, Rung, measure_accuracy
from exporters.bench.subject import Subject, subject_of
from exporters.bench.timing import quantiles
from exporters.bench.watts import ABSENT, Watts
from exporters.evaluation.album import Album, read_album
from exporters.finetuning.options import FineTuning
from exporters.machine import cores
from exporters.precision.calibration import CalibrationSet
from exporters.sources.checkpoint_source import Checkpoint

_MOST_FRAMES: Final = 32
"""Held in memory while speeds are measured, over and over."""


class CameraLadder:
    """Builds and measures the rungs one after the other; `rungs` has what was measured so far at any time.

    Every rung takes a camera's frame in NV12 from memory to boxes in its pixels, alone, one after another.

    Args:
        subject: A detector or segmenter.
        album: Pictures, of which a camera's frames are made.
        open_path: What `reeltag watch` does with a frame.
        calibration: Pictures for int8, none of which is measured on; without it there is no int8.
        qat: How int8 is trained on the same pictures, or what was trained before.
        device: What runs networks; found out without it.
        remark: What a reader must know of the pictures.
    """

    def __init__(
        self,
        subject: Subject,
        album: Album,
        open_path: OpenPath,
        calibration: CalibrationSet | None = None,
        qat: FineTuning | Trained | None = None,
        *,
        device: Device | None = None,
        remark: str = "",
    ) -> None:
        self.rungs: list[Rung] = []
        self._subject, self._album, self._open_path = subject, album, open_path
        self._calibration, self._qat, self._remark = calibration, qat, remark
        self._device = device or this_device()
        self._category_ids = album.dataset.category_ids(subject.spec.labels) if album.dataset else {}
        self._frames = [camera_frame(data) for data in list(album.pictures.values())[:_MOST_FRAMES]]
        self._power_of = ""

    def climb(self, seconds: float, progress: Progress) -> None:
        """Build the rungs and measure the accuracy of each, then their speed.

        Args:
            seconds: For the speed of a rung, all rounds together.
            progress: Told what is being done.
        """
        torch.set_num_threads(cores())
        with tempfile.TemporaryDirectory(prefix="reeltag-ladder-") as folder:
            steps = CameraSteps(
                self._subject, self._device, self._open_path, Path(folder), self._calibration, self._qat
            )
            with closing(steps):
                for rung in steps.rungs(progress):
                    self.rungs.append(rung)
                    if rung.ways and self._album.dataset is not None:
                        progress(f"{rung.name}: AP")
                        measure_accuracy(rung, self._album, self._category_ids, camera_frame)
                self._measure_speed(seconds, progress)

    @property
    def setting(self) -> str:
        """What was measured on, for people."""
        sizes = sorted({frame.luma.shape for frame in self._frames}, key=lambda size: size[0] * size[1])
        ends = " to ".join(f"{height}x{width}" for height, width in dict.fromkeys([sizes[0], sizes[-1]]))
        spec = self._subject.spec
        return f"frames in NV12 of {ends} to {spec.height}x{spec.width}, one at a time; {self._device}"

    def table(self) -> list[dict[str, str]]:
        """The rungs with their columns, for people."""
        return [self._row(rung) for rung in self.rungs]

    def notes(self) -> list[str]:
        """What was left out, and what a reader must know."""
        said = [note for rung in self.rungs for note in rung.notes]
        power = f"W: {self._power_of}, mean of the rounds" if self._power_of else ABSENT
        return [*filter(None, (self._remark, *said, self._device.remark)), power]

    def _row(self, rung: Rung) -> dict[str, str]:
        first = next((each for each in self.rungs if each.rates), rung)
        late, precise = quantiles(rung.durations) if rung.durations else None, rung.average_precision
        speeds = rung.speeds(first)
        return {
            "step": rung.name,
            "runs in": rung.runs_in or "-",
            "precision": rung.precision or "-",
            "batch": "1" if rung.ways else "-",
            "FPS": speeds["pictures/s"],
            "of rounds": speeds["of rounds"],
            "times": speeds["times"],
            "mean ms": f"{1e3 * statistics.fmean(rung.durations):.2f}" if rung.durations else "-",
            "p50 / p95 / p99 ms": " / ".join(f"{1e3 * each:.2f}" for each in late) if late else "-",
            "AP": "-" if precise is None else f"{100 * precise:.1f}",
            "W": f"{statistics.fmean(rung.watts):.1f}" if rung.watts else "-",
        }

    def _measure_speed(self, seconds: float, progress: Progress) -> None:
        rungs = [(rung, [rung.take(frame) for frame in self._frames]) for rung in self.rungs if rung.ways]
        for rung, frames in rungs:  # sizes that come for the first time take memory
            progress(f"{rung.name}: warm-up")
            for frame in frames:
                rung.ways[0](frame)
        for number in range(1, ROUNDS + 1):
            for rung, frames in rungs:
                progress(f"round {number} of {ROUNDS}: {rung.name}")
                with Watts(on_gpu=self._device.torch_device == "cuda") as watts:
                    durations = _timed(rung.ways[0], frames, seconds / ROUNDS)
                rung.durations += durations
                rung.rates.append(len(durations) / sum(durations))
                if watts.mean is not None:
                    rung.watts.append(watts.mean)
                    self._power_of = watts.of


def open_camera_ladder(
    name: str,
    checkpoint: Checkpoint | None,
    images: Path | None,
    open_path: OpenPath,
    *,
    annotations: Path | None = None,
    calibration: Path | None = None,
    qat: FineTuning | Path | None = None,
) -> CameraLadder:
    """A network, and the pictures to measure it on, all read and checked.

    Args:
        name: In the catalogue.
        checkpoint: Its weights, where it comes without any.
        images: Folder of the pictures; frames are drawn without it.
        open_path: What `reeltag watch` does with a frame.
        annotations: COCO JSON of the pictures' boxes; without it there is no AP.
        calibration: Folder of other pictures; without it there is no int8.
        qat: How int8 is trained on these, or the graph of what was trained before.

    Raises:
        UnknownModel: The catalogue has no such network.
        InvalidOption: The network is neither detector nor segmenter, lacks a checkpoint, or has no AP.
        InputError: The checkpoint or the graph does not fit, a picture is missing, damaged or both calibrated and
            measured on, or no category of the annotations is a class of the network.
    """
    check_measurable(name, checkpoint, annotations)
    subject = subject_of(name, checkpoint)
    album = drawn_album(subject.spec) if images is None else read_album(images, annotations)
    drawn = "the frames are drawn and show nothing, so that there is nothing to suppress: --images FOLDER takes yours"
    pictures, trained = read_training(subject.spec, album, calibration, qat)
    return CameraLadder(subject, album, open_path, pictures, trained, remark="" if images else drawn)


def _timed(way: Callable[[Any], Any], frames: Sequence[CameraFrame], seconds: float) -> list[float]:
    """Seconds of each call, over the frames again and again."""
    durations: list[float] = []
    ends = time.perf_counter() + seconds
    while not durations or time.perf_counter() < ends:
        began = time.perf_counter()
        way(frames[len(durations) % len(frames)])
        durations.append(time.perf_counter() - began)
    return durations

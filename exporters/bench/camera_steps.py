"""The rungs of the ladder beside a camera: from a plain script to what `reeltag watch` does with a frame."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt
from onnx import ModelProto

from exporters.bench.camera_frames import CameraFrame, plain_frame_reader
from exporters.bench.device import Device, plan_options
from exporters.bench.int8_steps import Trained, int8_steps
from exporters.bench.rung import Progress, Rung
from exporters.bench.runners import Answers
from exporters.bench.subject import Subject, cut
from exporters.bench.ways import (
    Way,
    candidates_finish,
    class_map_finish,
    plain_finish,
    runner_network,
    torch_graph_network,
    torch_network,
)
from exporters.files import sha256_of, write_atomically
from exporters.finetuning.options import FineTuning
from exporters.graphs.compare import Floats, sample_frames
from exporters.graphs.heads import network_outputs
from exporters.graphs.suppression import suppressing
from exporters.plans.planned import planned
from exporters.precision.calibration import CalibrationSet
from exporters.precision.convert import Precision, convert
from exporters.publishing.artefact import Artefact
from exporters.publishing.configs import Nms
from exporters.publishing.contents import network_folder
from exporters.publishing.passport import Passport
from reeltag import __version__
from reeltag.errors import InputError
from reeltag.frames import Geometry

_CHOSEN_ON: Final = 4
"""Drawn pictures on which nodes are chosen for fp16, where there are no others."""


class FramePath(Protocol):
    """A frame's way through `reeltag watch`, from its memory to boxes."""

    @property
    def takes_nv12(self) -> bool:
        """Whether frames become the network's input where it computes, and not by OpenCV."""

    @property
    def said(self) -> str:
        """What ran where, for people."""

    def frame(self, luma: npt.NDArray[np.uint8], chroma: npt.NDArray[np.uint8]) -> Any:
        """A frame in BT.601 of limited range in the memory that it is looked at in."""

    def __call__(self, frame: Any) -> Floats:
        """Boxes float32 `(n, 6)` in pixels of the frame; valid until the next call."""

    def close(self) -> None:
        """Free the network."""


OpenPath = Callable[[Path], FramePath]
"""Opens the detector of a model repository: the edge's own, handed in because rooms do not import each other."""
Finish = Callable[[Answers, Geometry], Floats]


@dataclass(frozen=True)
class _Built:
    """What the rungs so far have settled."""

    graph: ModelProto
    precision: Precision = "fp32"


class CameraSteps:
    """Makes the rungs one after the other.

    Args:
        subject: A detector or segmenter.
        device: What runs it.
        open_path: What `reeltag watch` does.
        folder: For what is loaded from files; it has to stay until `close`.
        calibration: Pictures for int8; without them there is no int8.
        qat: How int8 is trained on the same pictures, or what was trained before.
    """

    def __init__(
        self,
        subject: Subject,
        device: Device,
        open_path: OpenPath,
        folder: Path,
        calibration: CalibrationSet | None,
        qat: FineTuning | Trained | None,
    ) -> None:
        self._subject, self._spec, self._device = subject, subject.spec, device
        self._open_path, self._folder = open_path, folder
        self._calibration, self._qat = calibration, qat
        self._paths: list[tuple[Rung, FramePath]] = []
        assert self._spec.view is not None
        self._reader = plain_frame_reader(self._spec.view)

    def rungs(self, progress: Progress) -> Iterator[Rung]:
        """In their order, each measurable when it comes."""
        built, finish = _Built(self._subject.graph), plain_finish(self._spec, None)
        yield self._plain()
        yield self._compiled(f"+ {self._device.name}", built, finish)
        half = self._device.half
        if half is None:
            yield Rung("+ bf16", skipped="this CPU does not compute in bfloat16")
        else:
            progress(f"+ {half}: choice of the nodes")
            built = self._halved(built, half)
            yield self._compiled(f"+ {half}", built, finish, self._remark_on_half(half))
        for step in int8_steps(self._subject.graph, self._calibration, self._qat, progress):
            if step.graph is None:
                yield Rung(step.name, skipped=step.skipped)
                continue
            in_int8 = _Built(step.graph, "int8")
            remark = "; ".join(filter(None, (step.remark, self._remark_on_int8)))
            yield self._compiled(step.name, in_int8, finish, remark)
            if self._device.computes_int8:
                built = in_int8
        yield from self._after_precision(built)

    def close(self) -> None:
        """Let each rung say what ran where, and free what was loaded."""
        for rung, path in self._paths:
            rung.remark = path.said
            path.close()
        self._paths.clear()

    def _plain(self) -> Rung:
        """In PyTorch: as the authors publish it, or where they publish ONNX their graph."""
        spec, network, torch_device = self._spec, self._subject.network, self._device.torch_device
        runs_in = f"PyTorch, {self._device.place}"
        if network is not None:
            compute = torch_network(spec, network, torch_device)
            return Rung(
                "PyTorch", [Way(self._reader, compute, plain_finish(spec, network))], runs_in=runs_in, precision="fp32"
            )
        try:
            compute = torch_graph_network(self._before_decoding(self._subject.graph), torch_device)
            compute(sample_frames(spec, 1))
        except (InputError, RuntimeError) as error:
            return Rung("PyTorch", skipped=f"{self._subject.absence}, and its graph does not run there: {error}")
        remark = f"{self._subject.absence}: its graph runs in PyTorch, operator by operator"
        way = Way(self._reader, compute, plain_finish(spec, None))
        return Rung("PyTorch", [way], runs_in=runs_in, precision="fp32", remark=remark)

    def _compiled(self, name: str, built: _Built, finish: Finish, remark: str = "", *, whole: bool = False) -> Rung:
        """A rung whose frames still become the input the plain way."""
        graph = built.graph if whole else self._before_decoding(built.graph)
        runner = self._device.runner(graph, self._spec.input_shape, built.precision)
        ways = [Way(self._reader, runner_network(runner), finish)]
        runs_in = f"{self._device.name}, {self._device.place}"
        return Rung(name, ways, runs_in=runs_in, precision=built.precision, remark=remark)

    def _before_decoding(self, graph: ModelProto) -> ModelProto:
        return cut(graph, network_outputs(self._spec))

    def _halved(self, built: _Built, half: Precision) -> _Built:
        """fp16 is written into the graph; bf16 OpenVINO makes by itself."""
        if half == "bf16":
            return replace(built, precision=half)
        pictures = self._calibration or CalibrationSet(sample_frames(self._spec, _CHOSEN_ON))
        return _Built(convert(built.graph, half, pictures)[0], half)

    def _remark_on_half(self, half: Precision) -> str:
        return "its nodes were chosen on drawn pictures" if half == "fp16" and self._calibration is None else ""

    @property
    def _remark_on_int8(self) -> str:
        if self._device.computes_int8:
            return ""
        return f"{self._device.name} computes it in floats on a GPU; the next steps go on in {self._device.half}"

    def _after_precision(self, built: _Built) -> Iterator[Rung]:
        if self._spec.task == "segment":
            yield self._compiled("+ class map in the graph", built, class_map_finish(self._spec), whole=True)
            yield Rung("+ preallocated, pre-processing in place", skipped="reeltag watch takes detectors alone")
            return
        yield self._compiled("+ decoding in the graph", built, candidates_finish, whole=True)
        yield self._watched("+ preallocated, pre-processing {}", built, "python")
        yield self._watched("+ suppression in the graph", replace(built, graph=suppressing(built.graph)), "engine")

    def _watched(self, name: str, built: _Built, nms: Nms) -> Rung:
        """A rung that is all of `reeltag watch` between a frame's memory and its boxes."""
        path = self._open_path(self._published(built, nms))

        def taken(frame: CameraFrame) -> Any:
            return path.frame(frame.luma, frame.chroma)

        rung = Rung(
            name.format("on the GPU" if path.takes_nv12 else "by OpenCV in place"),
            [path],
            taken,
            runs_in=f"{self._device.name}, {self._device.place}",
            precision=built.precision,
        )
        self._paths.append((rung, path))
        return rung

    def _published(self, built: _Built, nms: Nms) -> Path:
        """A model repository with this network alone."""
        made = self._folder / f"made-{nms}"
        file = made / "model.onnx"
        write_atomically(file, built.graph.SerializeToString(deterministic=True))
        passport = Passport(
            file_sha256=sha256_of(file),
            reeltag_version=__version__,
            runtime=self._device.runtime,
            precision=built.precision,
            nms=nms,
        )
        artefact = Artefact(self._spec, file, passport)
        if self._device.runtime == "tensorrt":
            artefact = planned(artefact, plan_options(), made)
        repository = self._folder / nms
        network_folder(artefact).write(repository / self._spec.name)
        return repository

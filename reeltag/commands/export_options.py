"""The options of `reeltag export` but those of the source: a panel each for the precision, the gate and the plan."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Final, Literal

import typer

from reeltag.errors import InvalidOption

if TYPE_CHECKING:
    from exporters.gate.accuracy import Annotated as Annotations
    from exporters.making import Making
    from exporters.plans.build import PlanOptions

EDGE_WORKSPACE_MIB: Final = 1024
"""Of a plan's layer on a device whose 8 GiB hold the system, the frames and the network."""


@dataclass(frozen=True)
class PrecisionOptions:
    """In which precision and for which runtime it is made."""

    PANEL: ClassVar[str] = "Precision: how it computes, and where"

    precision: Annotated[
        Literal["fp32", "bf16", "fp16", "int8", "auto"] | None,
        typer.Option(
            help="What loses too much is not published; auto: the fastest here of those that do not. Default: fp32, of "
            "an edge profile's plan fp16, with --qat int8."
        ),
    ] = None
    calibration: Annotated[
        Path | None, typer.Option(help="Folder of pictures like those to come; for every precision but fp32.")
    ] = None
    method: Annotated[Literal["min-max", "entropy", "percentile"], typer.Option(help="How int8 ranges are chosen.")] = (
        "entropy"
    )
    qat: Annotated[
        bool, typer.Option("--qat", help="Fine-tune the int8 network on these pictures to answer as in fp32.")
    ] = False
    nms: Annotated[
        Literal["python", "engine"] | None,
        typer.Option(
            help="Boxes are suppressed by a Python backend, or in the graph. Default: in the graph for onnxruntime and "
            "tensorrt."
        ),
    ] = None
    runtime: Annotated[
        Literal["openvino", "onnxruntime", "tensorrt"] | None,
        typer.Option(
            help="onnxruntime and tensorrt are in NVIDIA's container only. Default: openvino; tensorrt with --profile "
            "edge on a Jetson."
        ),
    ] = None
    profile: Annotated[
        Literal["edge"] | None,
        typer.Option(help="edge: for one picture at a time on a device; a plan for the Jetson that this runs on."),
    ] = None

    @property
    def is_fastest_wanted(self) -> bool:
        """Whether the precision is chosen by measuring."""
        return self.precision == "auto"

    def making(self, plan: PlanOptions) -> Making:
        """How the artefact is made; int8 stands for all that are tried where the fastest is wanted.

        Raises:
            InvalidOption: Two options do not go together.
        """
        from exporters.finetuning.options import FineTuning
        from exporters.making import Making

        precision = self.precision or self._usual_precision
        lowered = "int8" if precision == "auto" else precision
        tuning = FineTuning() if self.qat else None
        return Making(lowered, self.method, tuning, runtime=self.chosen_runtime, nms=self.nms, plan=plan)

    @property
    def chosen_runtime(self) -> Literal["openvino", "onnxruntime", "tensorrt"]:
        """The one that was named, or the usual one.

        Raises:
            SetupError: This is a Jetson that cannot make plans; the text says what works instead.
        """
        from reeltag.jetson import this_device

        device = this_device() if self.profile == "edge" else None
        if device is not None and self.runtime in (None, "tensorrt"):
            device.check_export()
        return self.runtime or ("openvino" if device is None else "tensorrt")

    @property
    def _usual_precision(self) -> Literal["fp32", "fp16", "int8"]:
        if self.profile == "edge" and self.qat:
            return "int8"
        return "fp16" if self.profile == "edge" and self.chosen_runtime == "tensorrt" else "fp32"


@dataclass(frozen=True)
class GateOptions:
    """What it may lose, and on which pictures that is measured."""

    PANEL: ClassVar[str] = "Gate: what it may lose"

    images: Annotated[
        Path | None,
        typer.Option(help="Annotated pictures, to measure accuracy on; for a classifier a folder for each class."),
    ] = None
    annotations: Annotated[
        Path | None,
        typer.Option(
            help="Theirs: a COCO JSON, for a segmenter the folder of class maps, for a classifier a list of file and "
            "class."
        ),
    ] = None
    max_drop: Annotated[
        float | None,
        typer.Option(help="Points of AP, top-1 and top-5, or mIoU that may be lost. Default: 0.5, in int8 1.5."),
    ] = None

    def annotated(self, task: str) -> Annotations | None:
        """The annotated pictures, where there are any.

        Raises:
            InvalidOption: Only one of two options was given that go together, or the task takes no pictures.
            InputError: They cannot be read.
        """
        from exporters import evaluation
        from exporters.gate.accuracy import check_max_drop

        if self.images is None and self.annotations is None:
            return None
        check_max_drop(self.max_drop, task)
        if task == "classify" and self.images is not None:
            return evaluation.read_classes(self.images, self.annotations)
        if self.images is None or self.annotations is None:
            raise InvalidOption("--images and --annotations go together")
        read = evaluation.read_class_maps if task == "segment" else evaluation.read_coco
        return read(self.images, self.annotations)


@dataclass(frozen=True)
class PlanPanel:
    """How a TensorRT plan is built."""

    PANEL: ClassVar[str] = "Plan: with --runtime tensorrt"

    batch: Annotated[int | None, typer.Option(help="Batch size that a plan is tuned for. Default: 8.")] = None
    workspace: Annotated[int | None, typer.Option(help="Most scratch memory of a plan's layer, MiB.")] = None
    timing_cache: Annotated[
        Path | None, typer.Option(help="File of a plan's kernel timings: the next build is many times faster.")
    ] = None
    dla: Annotated[
        int | None, typer.Option(help="Accelerator of a Jetson for a plan; the GPU runs what it cannot.")
    ] = None
    layers: Annotated[bool, typer.Option("--layers", help="Time each layer of the plan on this GPU, too.")] = False
    rebuild_stale: Annotated[
        bool, typer.Option("--rebuild-stale", help="Build plans anew that were made for another TensorRT or GPU.")
    ] = False

    def options(self, runtime: str, profile: str | None = None) -> PlanOptions:
        """Options of a TensorRT plan.

        Raises:
            InvalidOption: One is out of range, or the runtime has no plans.
            SetupError: The accelerator is not on this Jetson.
        """
        from exporters.plans.build import BatchProfile, PlanOptions

        said = {"--batch": self.batch, "--workspace": self.workspace, "--timing-cache": self.timing_cache}
        given = [option for option, value in {**said, "--dla": self.dla}.items() if value is not None]
        if self.layers:
            given.append("--layers")
        if given and runtime != "tensorrt":
            raise InvalidOption(f"{given[0]} goes with --runtime tensorrt")
        if profile == "edge":
            return self._for_edge()
        return PlanOptions(
            batch=BatchProfile() if self.batch is None else BatchProfile(usual=self.batch),
            workspace_bytes=None if self.workspace is None else self.workspace * 2**20,
            timing_cache=self.timing_cache,
            dla_core=self.dla,
        )

    def _for_edge(self) -> PlanOptions:
        """For one picture at a time, in memory that CPU and GPU share, built again and again on the same device."""
        from exporters.plans.build import BatchProfile, PlanOptions
        from reeltag.jetson import this_device
        from reeltag.places import cache_folder

        device = this_device()
        if device is not None and self.dla is not None:
            device.check_dla(self.dla)
        batch = 1 if self.batch is None else self.batch
        cache_folder().mkdir(parents=True, exist_ok=True)
        return PlanOptions(
            batch=BatchProfile(1, batch, batch),
            workspace_bytes=(EDGE_WORKSPACE_MIB if self.workspace is None else self.workspace) * 2**20,
            timing_cache=self.timing_cache or cache_folder() / "edge-timings",
            dla_core=self.dla,
        )

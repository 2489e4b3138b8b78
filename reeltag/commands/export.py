"""`reeltag export`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from reeltag.commands.common import RepositoryOption, phases, progress, repository_at, results, table_of
from reeltag.commands.sources import channels, rows_and_columns, source_of
from reeltag.errors import InvalidOption, SetupError

if TYPE_CHECKING:
    from exporters.evaluation import CocoDataset, SegmentationDataset
    from exporters.export import ExportReport
    from exporters.plans.build import PlanOptions
    from exporters.publishing.artefact import Artefact


def export(
    name: Annotated[
        str | None, typer.Argument(help="A network of the catalogue, see `reeltag models`; or a name for yours.")
    ] = None,
    checkpoint: Annotated[
        Path | None, typer.Option(help="Your weights, for a network that comes without any, such as yolox_s.")
    ] = None,
    onnx: Annotated[Path | None, typer.Option(help="Your network as ONNX; see docs/exporting.md.")] = None,
    task: Annotated[
        Literal["detect", "classify", "segment"] | None, typer.Option(help="What the network in --onnx does.")
    ] = None,
    head: Annotated[
        str | None,
        typer.Option(help="Whose outputs the detector in --onnx has: yolox, nanodet, ultralytics, or none to decode."),
    ] = None,
    labels: Annotated[Path | None, typer.Option(help="Text file with your network's class names, one a line.")] = None,
    num_classes: Annotated[int | None, typer.Option(help="Classes that the checkpoint tells apart.")] = None,
    size: Annotated[str | None, typer.Option(help="Input, pixels: 416, or ROWSxCOLUMNS such as 512x1024.")] = None,
    mean: Annotated[
        str | None, typer.Option(help="Subtracted from red,green,blue, 0 to 255. Default: as the head was published.")
    ] = None,
    std: Annotated[str | None, typer.Option(help="Red,green,blue are divided by it. Default: likewise.")] = None,
    channel_order: Annotated[Literal["RGB", "BGR"] | None, typer.Option(help="Default: likewise.")] = None,
    fit: Annotated[
        Literal["letterbox", "letterbox-top-left", "center-crop"] | None,
        typer.Option(help="How pictures fill the input. Default: likewise."),
    ] = None,
    activation: Annotated[str | None, typer.Option(help="YOLOX: silu, mish or relu. Default: silu.")] = None,
    upsampling: Annotated[str | None, typer.Option(help="SwiftNet: bilinear or nearest. Default: bilinear.")] = None,
    precision: Annotated[
        Literal["fp32", "bf16", "fp16", "int8", "auto"],
        typer.Option(help="What loses too much is not published; auto: the fastest here of those that do not."),
    ] = "fp32",
    calibration: Annotated[
        Path | None, typer.Option(help="Folder of pictures like those to come; for every precision but fp32.")
    ] = None,
    method: Annotated[
        Literal["min-max", "entropy", "percentile"], typer.Option(help="How int8 ranges are chosen.")
    ] = "entropy",
    qat: Annotated[
        bool, typer.Option("--qat", help="Fine-tune the int8 network on these pictures to answer as in fp32.")
    ] = False,
    images: Annotated[Path | None, typer.Option(help="Annotated pictures, to measure accuracy on.")] = None,
    annotations: Annotated[
        Path | None, typer.Option(help="Theirs: a COCO JSON, or for a segmenter the folder of class maps.")
    ] = None,
    max_ap_drop: Annotated[
        float | None, typer.Option(help="Points of AP that may be lost. Default: 0.5, in int8 1.5.")
    ] = None,
    max_miou_drop: Annotated[
        float | None, typer.Option(help="Points of mIoU that may be lost. Default: likewise.")
    ] = None,
    nms: Annotated[
        Literal["python", "engine"], typer.Option(help="Boxes are suppressed by a Python backend, or in the graph.")
    ] = "python",
    runtime: Annotated[
        Literal["openvino", "onnxruntime", "tensorrt"],
        typer.Option(help="onnxruntime and tensorrt are in NVIDIA's container only."),
    ] = "openvino",
    batch: Annotated[int | None, typer.Option(help="Batch size that a plan is tuned for. Default: 8.")] = None,
    workspace: Annotated[int | None, typer.Option(help="Most scratch memory of a plan's layer, MiB.")] = None,
    timing_cache: Annotated[
        Path | None, typer.Option(help="File of a plan's kernel timings: the next build is many times faster.")
    ] = None,
    dla: Annotated[
        int | None, typer.Option(help="Accelerator of a Jetson for a plan; the GPU runs what it cannot.")
    ] = None,
    layers: Annotated[bool, typer.Option("--layers", help="Time each layer of the plan on this GPU, too.")] = False,
    rebuild_stale: Annotated[
        bool, typer.Option("--rebuild-stale", help="Build plans anew that were made for another TensorRT or GPU.")
    ] = False,
    model_repository: RepositoryOption = None,
) -> None:
    """Make a served model of a network: verify, lower its precision, measure what that loses, publish."""
    brought = {
        **{"--num-classes": num_classes, "--activation": activation, "--upsampling": upsampling},
        **{"--task": task, "--head": head, "--labels": labels, "--channel-order": channel_order, "--fit": fit},
        "--size": None if size is None else rows_and_columns(size),
        "--mean": None if mean is None else channels("--mean", mean),
        "--std": None if std is None else channels("--std", std),
    }
    of_plan = {"--batch": batch, "--workspace": workspace, "--timing-cache": timing_cache, "--dla": dla}
    of_plan["--layers"] = layers or None
    drops = {"detect": ("--max-ap-drop", max_ap_drop), "segment": ("--max-miou-drop", max_miou_drop)}
    target = repository_at(model_repository)
    try:
        from exporters.export import ExportOptions
        from exporters.export import export as export_source
        from exporters.finetuning.options import FineTuning
        from exporters.making import Making

        if rebuild_stale:
            _rebuild(name, target)
            return
        if name is None:
            raise InvalidOption("name the network to export; `reeltag models` lists them")
        plan = _plan(_given(of_plan), runtime)
        tuning = FineTuning() if qat else None
        lowered = "int8" if precision == "auto" else precision
        making = Making(lowered, method, tuning, runtime=runtime, nms=nms, plan=plan)
        if (images is None) != (annotations is None):
            raise InvalidOption("--images and --annotations go together")
        with progress.status(f"reading {name}"):
            source = source_of(name, checkpoint, onnx, _given(brought))
        if source.notes:
            progress.print(source.notes, markup=False, soft_wrap=True)
        max_drop = _max_drop(drops, source.spec.task)
        annotated = _annotated(source.spec.task, images, annotations)
        wanted = ExportOptions(making, calibration, annotated, max_drop, is_fastest_wanted=precision == "auto")
        with phases() as tell:
            report = export_source(source, wanted, target=target, progress=tell)
    except ModuleNotFoundError as error:
        raise SetupError(f"exporting needs {error.name}; run: pip install 'reeltag[export]'") from error
    except KeyboardInterrupt:
        progress.print("interrupted: nothing was published")
        raise
    _print(report)
    if layers:
        _print_layers(report.artefact, target)


def _given(options: dict[str, Any]) -> dict[str, Any]:
    return {option: value for option, value in options.items() if value is not None}


def _rebuild(name: str | None, target: Path) -> None:
    from exporters.rebuilding import rebuild_stale

    with phases() as tell:
        rebuilt = rebuild_stale(target, [name] if name else [], progress=tell)
    results.print(f"rebuilt {', '.join(rebuilt)}" if rebuilt else "no plan is stale", markup=False)


def _plan(given: dict[str, Any], runtime: str) -> PlanOptions:
    """Options of a TensorRT plan."""
    from exporters.plans.build import BatchProfile, PlanOptions

    if given and runtime != "tensorrt":
        raise InvalidOption(f"{next(iter(given))} goes with --runtime tensorrt")
    workspace = given.get("--workspace")
    return PlanOptions(
        batch=BatchProfile(usual=given.get("--batch", BatchProfile.usual)),
        workspace_bytes=None if workspace is None else workspace * 2**20,
        timing_cache=given.get("--timing-cache"),
        dla_core=given.get("--dla"),
    )


def _max_drop(drops: dict[str, tuple[str, float | None]], task: str) -> float | None:
    """The allowed loss that was given, which must be one of the network's task."""
    for of_task, (option, value) in drops.items():
        if value is not None and of_task != task:
            raise InvalidOption(f"{option} is for networks that {of_task}; this one is to {task}")
    return drops[task][1] if task in drops else None


def _annotated(task: str, images: Path | None, annotations: Path | None) -> CocoDataset | SegmentationDataset | None:
    from exporters import evaluation

    if images is None or annotations is None:
        return None
    read = evaluation.read_class_maps if task == "segment" else evaluation.read_coco
    return read(images, annotations)


def _print_layers(artefact: Artefact, target: Path) -> None:
    from exporters.graphs.compare import sample_frames
    from exporters.plans.layer_times import layer_times
    from exporters.publishing.artefact import PLAN_FILE

    built = artefact.passport.plan
    assert built is not None
    _, usual, _ = built.batch_sizes
    plan = (target / artefact.spec.name / PLAN_FILE).read_bytes()
    times = layer_times(plan, sample_frames(artefact.spec, usual), module=built.module)
    rows = [{"layer": one.layer, "ms": f"{one.milliseconds:.3f}", "share": f"{one.share:.1%}"} for one in times]
    results.print(table_of(f"\nlayers of the plan, batches of {usual}", rows))


def _print(report: ExportReport) -> None:
    kept = report.precision.kept_fp32
    if kept:
        rows = [{"stays in fp32": one.node, "operator": one.operator, "because it": one.reason} for one in kept]
        results.print(table_of("", rows))
    if report.gate:
        losses = report.gate.losses
        title = f"\n{losses.metric} on {losses.pictures} pictures; {losses.tensors}"
        results.print(table_of(title, losses.rows()))
    if len(report.speeds) > 1:
        slowest = report.speeds[-1].images_per_second
        rows = [
            {
                "precision": one.precision,
                "images/s": f"{one.images_per_second:.1f}",
                "of the slowest": f"{one.images_per_second / slowest:.2f}",
                "published": "yes" if one.precision == report.artefact.passport.precision else "no",
            }
            for one in report.speeds
        ]
        results.print(table_of("\nspeed of the network on this machine, measured in turns", rows))
    for reason in report.refused:
        progress.print(reason, markup=False, soft_wrap=True)
    results.print(str(report), markup=False, soft_wrap=True)

"""`reeltag evaluate`: accuracy through the running server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeVar

import typer

from reeltag.commands.common import (
    RepositoryOption,
    UrlOption,
    progress,
    results,
    running_triton,
    settings_of,
    table_of,
    triton_address,
)
from reeltag.errors import InvalidOption

if TYPE_CHECKING:
    from exporters.evaluation import (
        ClassificationDataset,
        ClassificationReport,
        CocoDataset,
        Confusion,
        DetectionReport,
        SegmentationDataset,
    )
    from reeltag.triton import TritonClient

Report = TypeVar("Report")
_DRAWN: Final = (".png", ".svg")
_TAKEN_FOR: Final = 3
"""How many other classes are named that a class's pictures got."""

app = typer.Typer(help="Measure accuracy through the running server.", no_args_is_help=True)
PictureOption = Annotated[Path | None, typer.Option(help="Draw the measurement into this .png or .svg file.")]
JsonOption = Annotated[Path | None, typer.Option("--json", help="Write all figures into this file.")]


@app.command()
def detection(
    images: Annotated[Path, typer.Option(help="Folder of the images.")],
    annotations: Annotated[Path, typer.Option(help="COCO JSON with the boxes.")],
    iou: Annotated[float, typer.Option(help="Overlap from which a box is right: precision, recall, curves.")] = 0.5,
    score: Annotated[float, typer.Option(help="Lowest score of a box, for precision and recall.")] = 0.3,
    picture: PictureOption = None,
    json_file: JsonOption = None,
    url: UrlOption = None,
    model_repository: RepositoryOption = None,
) -> None:
    """Measure the served detector: COCO's table, precision and recall, average precision of each class."""
    from exporters import evaluation
    from exporters.evaluation.pictures import draw_curves

    if not (0 < iou <= 1 and 0 <= score <= 1):
        raise InvalidOption(f"--iou {iou:g} --score {score:g} is out of range: 0 < iou <= 1, 0 <= score <= 1")
    _check_picture(picture)
    dataset = evaluation.read_coco(images, annotations)

    async def measure(client: TritonClient, batches: Iterable[Any]) -> DetectionReport:
        labels = (await client.card("detect")).labels
        found = await evaluation.found_boxes(client, dataset, batches)
        return evaluation.report_detection(dataset, found, labels, iou=iou, score=score)

    report = _measured(measure, dataset, url, model_repository)
    _print_detection(report, len(dataset.files))
    if picture is not None:
        draw_curves(report, picture)
    _write_json(json_file, report.to_dict())


@app.command()
def classification(
    images: Annotated[Path, typer.Option(help="Folder with a sub-folder for each class, or of the listed files.")],
    annotations: Annotated[
        Path | None, typer.Option(help="List of file and class: lines of text, .csv or .json. Default: by sub-folder.")
    ] = None,
    picture: PictureOption = None,
    json_file: JsonOption = None,
    url: UrlOption = None,
    model_repository: RepositoryOption = None,
) -> None:
    """Measure the served classifier: top-1 and top-5, recall and precision of each class, confusion of classes."""
    from exporters import evaluation
    from exporters.evaluation.pictures import draw_class_confusion

    _check_picture(picture)
    dataset = evaluation.read_classes(images, annotations)

    async def measure(client: TritonClient, batches: Iterable[Any]) -> ClassificationReport:
        labels = (await client.card("classify")).labels
        dataset.class_indexes(labels)  # rather than after the measurement
        found = await evaluation.found_classes(client, dataset, batches)
        return evaluation.report_classification(dataset, found, labels)

    report = _measured(measure, dataset, url, model_repository)
    _print_classification(report)
    if picture is not None:
        draw_class_confusion(report, picture)
    _write_json(json_file, report.to_dict())


@app.command()
def segmentation(
    images: Annotated[Path, typer.Option(help="Cityscapes' folder, or one of pictures.")],
    annotations: Annotated[
        Path, typer.Option(help="Cityscapes' folder, or one of PNG class maps named as the pictures.")
    ],
    split: Annotated[str, typer.Option(help="Of Cityscapes: train, val or test.")] = "val",
    picture: PictureOption = None,
    json_file: JsonOption = None,
    url: UrlOption = None,
    model_repository: RepositoryOption = None,
) -> None:
    """Measure the served segmenter: mIoU, IoU of each class, pixel accuracy, confusion of classes."""
    from exporters import evaluation
    from exporters.evaluation.pictures import draw_confusion

    _check_picture(picture)
    dataset = evaluation.read_class_maps(images, annotations, split=split)

    async def measure(client: TritonClient, batches: Iterable[Any]) -> Confusion:
        return await evaluation.evaluate_segmentation(client, dataset, batches)

    confusion = _measured(measure, dataset, url, model_repository)
    _print_segmentation(confusion, len(dataset.pictures))
    if picture is not None:
        draw_confusion(confusion, picture)
    _write_json(json_file, confusion.to_dict())


def _check_picture(path: Path | None) -> None:
    """Refuse what could not be drawn before the measurement, not after it."""
    if path is not None and path.suffix.lower() not in _DRAWN:
        raise InvalidOption(f"{path} is no name of a picture that can be drawn; one ends with {' or '.join(_DRAWN)}")


def _measured(
    measure: Callable[[TritonClient, Iterable[Any]], Awaitable[Report]],
    dataset: CocoDataset | ClassificationDataset | SegmentationDataset,
    url: str | None,
    model_repository: Path | None,
) -> Report:
    """Run a measurement against the named server, or one that is started for it."""
    from rich.progress import track

    settings = settings_of(triton_url=url and triton_address(url), model_repository=model_repository)
    with running_triton(settings) as triton:

        async def run() -> Report:
            async with triton.client(settings) as client:
                batches = track(dataset.batches(), description="images", console=progress, total=dataset.batch_count)
                return await measure(client, batches)

        return asyncio.run(run())


def _print_detection(report: DetectionReport, images: int) -> None:
    row = {name: _percent(value) for name, value in report.coco.items()}
    results.print(table_of(f"COCO AP, {images} images", [row]))
    hits, at_iou = report.hits, f"AP at IoU {report.iou:g}"
    row = {
        "precision": _percent(hits.precision),
        "recall": _percent(hits.recall),
        "mean IoU": _percent(hits.mean_iou),
        "boxes": str(hits.boxes),
        "found": str(hits.found),
        "matched": str(hits.matched),
    }
    results.print(table_of(f"\nboxes with a score of {report.score:g} or more, matched at IoU {report.iou:g}", [row]))
    rows = [
        {
            "class": one.name,
            "boxes": str(one.hits.boxes),
            "AP": _percent(one.ap),
            at_iou: _percent(one.ap_at_iou),
            "precision": _percent(one.hits.precision),
            "recall": _percent(one.hits.recall),
        }
        for one in report.classes
    ]
    results.print(table_of("\nclasses", rows))
    _print_unknown(report.unknown)


def _print_classification(report: ClassificationReport) -> None:
    row = {name: _percent(share) for name, share in report.shares.items()}
    results.print(table_of(f"{report.pictures} pictures", [row]))
    rows = [
        {
            "class": one.name,
            "pictures": str(one.pictures),
            **{name: _percent(share) for name, share in one.shares.items()},
            "found": str(one.found),
            "precision": _percent(one.precision),
            "taken for": ", ".join(f"{name} ({count})" for name, count in one.taken_for[:_TAKEN_FOR]),
        }
        for one in report.classes
    ]
    results.print(table_of("\nclasses", rows))
    _print_unknown(report.unknown)


def _print_unknown(names: Iterable[str]) -> None:
    if names := ", ".join(names):
        progress.print(f"left out, because the network does not know them: {names}", markup=False)


def _print_segmentation(confusion: Confusion, pictures: int) -> None:
    row = {"mIoU": _percent(confusion.mean_iou), "pixel accuracy": _percent(confusion.pixel_accuracy)}
    results.print(table_of(f"{pictures} pictures", [row]))
    total = max(1, confusion.pixels)
    rows = [
        {"class": one.name, "IoU": _percent(one.iou), "share of pixels": _percent(one.pixels / total)}
        for one in confusion.classes
    ]
    results.print(table_of("\nclasses", rows))


def _percent(share: float) -> str:
    return f"{100 * share:.1f}" if share >= 0 else "-"


def _write_json(path: Path | None, content: dict[str, Any]) -> None:
    from exporters.files import write_atomically

    if path is not None:
        write_atomically(path, f"{json.dumps(content, indent=2)}\n".encode())

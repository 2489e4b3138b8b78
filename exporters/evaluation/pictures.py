"""Measurements as pictures: precision-recall curves, and confusion of classes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from reeltag.errors import OutputError, SetupError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from exporters.evaluation import ClassificationReport, Confusion, DetectionReport

_CURVES: Final = 8
"""How many classes, those with the most boxes, get a curve of their own: more cannot be told apart."""
_DOTS_PER_INCH: Final = 130
INK: Final = "#1b1f24"
GRID: Final = "#d9dee3"
_COLOURS: Final = ("#1f6feb", "#d9480f", "#2b8a3e", "#9c36b5", "#e6a700", "#0b7285", "#c2255c", "#6b4f2a")
_NUMBERED_CELLS: Final = 0.005
"""Shares below half a percent get no number."""


def draw_curves(report: DetectionReport, path: Path) -> None:
    """Precision over recall: of all classes, and of those with the most boxes.

    Raises:
        OutputError: The picture cannot be written.
        SetupError: matplotlib is not installed.
    """
    from exporters.evaluation.detection import RECALLS  # noqa: PLC0415

    figure, axes = new_figure(9.5, 6.0)
    often = sorted(report.classes, key=lambda one: (-one.hits.boxes, one.name))[:_CURVES]
    for accuracy, colour in zip(often, _COLOURS, strict=False):
        label = f"{accuracy.name}  {100 * accuracy.ap_at_iou:.1f}  ({accuracy.hits.boxes} boxes)"
        axes.plot(RECALLS, accuracy.precisions, color=colour, linewidth=1.4, alpha=0.85, label=label)
    mean = report.precisions
    label = f"mean of {len(report.classes)} classes  {100 * float(mean.mean()):.1f}"
    axes.plot(RECALLS, mean, color=INK, linewidth=3.0, label=label)
    axes.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="recall", ylabel="precision")
    axes.grid(color=GRID, linewidth=0.8)
    axes.set_title(f"Precision and recall at IoU {report.iou:g}", loc="left", fontweight="bold")
    handles, labels = axes.get_legend_handles_labels()
    order = [len(handles) - 1, *range(len(handles) - 1)]
    axes.legend(
        [handles[i] for i in order],
        [labels[i] for i in order],
        title=f"AP at IoU {report.iou:g}",
        alignment="left",
        loc="upper left",
        bbox_to_anchor=(1.01, 1.0),
        frameon=False,
    )
    save_figure(figure, path)


def draw_confusion(confusion: Confusion, path: Path) -> None:
    """Which class the pixels of each true class got, in percent of its pixels.

    Raises:
        OutputError: The picture cannot be written.
        SetupError: matplotlib is not installed.
    """
    title = (
        f"Pixels of each true class, in percent (mIoU {100 * confusion.mean_iou:.1f}, "
        f"pixel accuracy {100 * confusion.pixel_accuracy:.1f})"
    )
    _draw_shares(confusion, "none", title, path)


def draw_class_confusion(report: ClassificationReport, path: Path) -> None:
    """Which class the pictures of each true class got, in percent: of the classes with the most mistakes.

    Raises:
        OutputError: The picture cannot be written.
        SetupError: matplotlib is not installed.
    """
    figures = ", ".join(f"{name} {100 * share:.1f}" for name, share in report.shares.items())
    _draw_shares(report.confusion(), "another", f"Pictures of each true class, in percent ({figures})", path)


def _draw_shares(confusion: Confusion, other: str, title: str, path: Path) -> None:
    """`other` is the name of what is found and is no class."""
    there = confusion.counts.sum(1) > 0
    shown = np.append(there, False) | (confusion.counts.sum(0) > 0)
    rows = [label for label, is_there in zip(confusion.labels, there, strict=True) if is_there]
    columns = [label for label, is_shown in zip((*confusion.labels, other), shown, strict=True) if is_shown]
    shares = confusion.shares[there][:, shown]
    figure, axes = new_figure(2.5 + 0.48 * len(columns), 2.0 + 0.42 * max(len(rows), 6))
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    axes.set_xticks(range(len(columns)), columns, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(rows)), rows)
    axes.set(xlabel="found", ylabel="true")
    axes.set_title(title, loc="left", fontweight="bold")
    for row, column in np.argwhere(shares >= _NUMBERED_CELLS).tolist():
        share = float(shares[row, column])
        ink = "white" if share > 0.6 else INK
        axes.text(column, row, f"{100 * share:.0f}", ha="center", va="center", fontsize=8, color=ink)
    bar = figure.colorbar(image, ax=axes, fraction=0.03, pad=0.02)
    bar.set_ticks([0, 0.5, 1], labels=["0 %", "50 %", "100 %"])
    save_figure(figure, path)


def new_figure(width: float, height: float) -> tuple[Figure, Axes]:
    """An empty picture, inches.

    Raises:
        SetupError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415  # not installed where models are only served
    except ModuleNotFoundError as error:
        raise SetupError(f"pictures need {error.name}; run: pip install 'reeltag[export]'") from error
    figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    axes = figure.subplots()
    axes.tick_params(colors=INK, length=0)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return figure, axes


def save_figure(figure: Figure, path: Path) -> None:
    """Write a picture; the file's suffix says in which format.

    Raises:
        OutputError: It cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=_DOTS_PER_INCH)
    except (OSError, ValueError) as error:
        raise OutputError(f"{path} cannot be written ({error}); name a .png or .svg file") from error

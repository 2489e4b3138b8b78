"""The ladder as a picture: a bar a rung."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from exporters.bench.rung import Rung
from exporters.evaluation.pictures import INK, new_figure, save_figure
from reeltag.errors import InvalidOption

SUFFIXES: Final = (".png", ".svg")
_PLAIN: Final = "#adb5bd"
_OURS: Final = "#1f6feb"
_FAINT: Final = "#868e96"
_FASTEST: Final = "#d9480f"


def check_suffix(path: Path) -> None:
    """Refuse a file that no picture can be written to, before minutes of measuring.

    Raises:
        InvalidOption: It is neither .png nor .svg.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise InvalidOption(f"{path} cannot be drawn into; name a {' or '.join(SUFFIXES)} file")


def draw_ladder(rungs: Sequence[Rung], path: Path, *, title: str, subtitle: str) -> None:
    """Pictures a second and average precision of each rung, from top to bottom.

    Args:
        rungs: Measured ones, and such that were skipped.
        path: A .png or .svg file.
        title: What was measured.
        subtitle: On what.

    Raises:
        OutputError: The picture cannot be written.
        SetupError: matplotlib is not installed.
    """
    figure, axes = new_figure(9.5, 1.5 + 0.52 * len(rungs))
    speeds = [rung.pictures_per_second or 0.0 for rung in rungs]
    fastest = max(speeds)
    for place, (rung, speed) in enumerate(zip(rungs, speeds, strict=True)):
        colour = _PLAIN if place == 0 else _FASTEST if speed == fastest else _OURS
        axes.barh(place, speed, height=0.66, color=colour)
        if rung.skipped:
            axes.text(0.01 * fastest, place, rung.skipped, va="center", color=_FAINT, fontstyle="italic")
            continue
        times = f"   {speed / speeds[0]:.2f}x" if place else ""
        axes.text(speed + 0.01 * fastest, place, f"{speed:.1f}", va="center", color=INK, fontweight="bold")
        if rung.average_precision is not None:
            times = f"   AP {100 * rung.average_precision:.1f}{times}"
        axes.text(speed + 0.08 * fastest, place, times, va="center", color=_FAINT)
    axes.set_yticks(range(len(rungs)), [rung.name for rung in rungs], color=INK)
    axes.invert_yaxis()
    axes.set_xlim(0, 1.34 * fastest)
    axes.set_xticks([])
    axes.spines["bottom"].set_visible(False)
    figure.suptitle(title, x=0.01, ha="left", color=INK, fontweight="bold")
    axes.set_title(subtitle, loc="left", color=_FAINT, fontsize=9)
    save_figure(figure, path)

"""The run of `benchmarks.scaling` as a picture: rates by cores beside bare processes, and whose time it was."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from matplotlib.figure import Figure

if TYPE_CHECKING:
    from benchmarks.scaling import Step

_BARE: Final = "#adb5bd"
_OURS: Final = "#1f6feb"
_FAINT: Final = "#868e96"
_SHOWN: Final = 0.01
"""Smaller shares of all cores' time are left out."""


def draw(steps: Sequence[Step], path: Path, *, subtitle: str) -> None:
    """Write a PNG with up to three panels: images a second, seconds of video a second, shares of processor time."""
    has_video = any(one.bare_video for one in steps)
    figure = Figure(figsize=(15 if has_video else 10, 4.2), layout="constrained")
    panels = figure.subplots(1, 3 if has_video else 2)
    cores = [one.cores for one in steps]
    images = ("images a second", [one.bare_images for one in steps], [one.gateway_images for one in steps])
    video = ("seconds of video a second", [one.bare_video for one in steps], [one.tagged_video for one in steps])
    for axes, (title, bare, ours) in zip(panels, [images, video] if has_video else [images], strict=False):
        axes.plot(cores, bare, "o--", color=_BARE, label="bare processes")
        axes.plot(cores, ours, "o-", color=_OURS, label="reeltag")
        for x, y, of in zip(cores, ours, bare, strict=True):
            axes.annotate(f"{y / of:.2f}", (x, y), textcoords="offset points", xytext=(4, -14), color=_FAINT)
        axes.set_title(title, loc="left")
        axes.set_xlabel("cores")
        axes.set_xticks(cores)
        axes.set_ylim(bottom=0)
        axes.legend(frameon=False)
    bottom = [0.0] * len(steps)
    roles = dict.fromkeys(role for one in steps for role, share in one.shares.items() if share >= _SHOWN)
    for role in roles:
        shares = [one.shares.get(role, 0.0) for one in steps]
        panels[-1].bar([str(count) for count in cores], shares, bottom=bottom, label=role)
        bottom = [below + share for below, share in zip(bottom, shares, strict=True)]
    panels[-1].set_title("share of the cores' time, images", loc="left")
    panels[-1].set_xlabel("cores")
    panels[-1].legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
    figure.suptitle(subtitle, x=0.01, ha="left", fontsize=9, color=_FAINT)
    figure.savefig(path, dpi=110)

"""How pictures are prepared for a brought network: as its family's were, but for what its owner says."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from exporters.sources.brought.conventions import Channels, Convention, convention_of, preset
from exporters.sources.brought.metadata import Metadata
from exporters.sources.brought.settled import Brought, Settled
from reeltag.errors import InvalidOption
from reeltag.frames import Fit


def convention_for(
    brought: Brought, wanted: Settled, metadata: Metadata, *, is_bytes: bool, is_grey: bool = False
) -> Convention:
    """Pre-processing of a network.

    Args:
        brought: The network.
        wanted: What it is taken for.
        metadata: What its file says of itself.
        is_bytes: Whether it takes uint8, and so normalises by itself.
        is_grey: Whether it takes one channel.

    Raises:
        InvalidOption: An option is out of range, on another scale, or does not go with the network or another option.
    """
    name = brought.preprocess or ("ultralytics" if metadata.is_ultralytics else None)
    usual = preset(name, wanted.task, wanted.head) if name else convention_of(wanted.task, wanted.head)
    if is_bytes:
        if brought.mean is not None or brought.std is not None:
            raise InvalidOption("the graph takes bytes and normalises them itself; leave --mean and --std out")
        usual = replace(usual, mean=(0.0,) * 3, std=(1.0,) * 3)
    _check_scale(brought.mean, brought.std)
    names = ("mean", "std", "channel_order", "fit", "crop_fraction", "pad")
    said: dict[str, Any] = {name: getattr(brought, name) for name in names if getattr(brought, name) is not None}
    convention = replace(usual, **said)
    _check_fit(brought, convention)
    return _grey(brought, convention) if is_grey else convention


def _grey(brought: Brought, convention: Convention) -> Convention:
    """With one mean and one deviation, and in no order of channels."""
    if brought.channel_order is not None:
        raise InvalidOption("the network takes one channel, grey, which has no order; leave --channel-order out")
    if len(set(convention.mean)) > 1 or len(set(convention.std)) > 1:
        raise InvalidOption(
            "the network takes one channel, grey, and what it was trained on is not known: say --mean and --std, one "
            "number each on the scale of 0 to 255, such as --mean 0 --std 255 for pixels from 0 to 1"
        )
    return replace(convention, channel_order="grey")


def _check_scale(mean: Channels | None, std: Channels | None) -> None:
    """Ask about values that are of pixels from 0 to 1."""
    if std is not None and min(std) <= 0:
        raise InvalidOption("--std must be greater than 0 for each channel")
    given = {"--mean": mean, "--std": std}
    small = {"--mean": bool(mean and any(0 < abs(v) <= 1 for v in mean)), "--std": bool(std and min(std) < 1)}
    if not any(small.values()):
        return
    here = " ".join(f"{option} {_text(values)}" for option, values in given.items() if values)
    there = " ".join(
        f"{option} {_text(values, 255 if small[option] else 1)}" for option, values in given.items() if values
    )
    otherwise = "so small a mean makes no difference: --mean 0" if small["--mean"] else "it must be in the graph"
    raise InvalidOption(
        f"{here} is on the scale of 0 to 1, and both options are on that of 0 to 255: if pixels were divided by 255 "
        f"first, as in torchvision, say {there}; if they were not, {otherwise}"
    )


def _text(values: Channels, factor: float = 1) -> str:
    """One number where all are the same."""
    scaled = [f"{value * factor:.6g}" for value in values]
    return scaled[0] if len(set(scaled)) == 1 else ",".join(scaled)


def _check_fit(brought: Brought, convention: Convention) -> None:
    fit = convention.fit.value.replace("_", "-")
    if brought.crop_fraction is not None:
        if convention.fit is not Fit.CENTER_CROP:
            raise InvalidOption(f"--crop-fraction goes with --fit center-crop, and pictures are fitted by {fit}")
        if not 0.0001 <= brought.crop_fraction <= 1:
            raise InvalidOption(f"--crop-fraction {brought.crop_fraction:g} is no share of a side; above 0 to 1 is")
    if brought.pad is not None:
        if convention.fit not in (Fit.LETTERBOX, Fit.LETTERBOX_TOP_LEFT):
            raise InvalidOption(f"--pad goes with --fit letterbox or letterbox-top-left; {fit} leaves no border")
        if not all(0 <= value <= 255 for value in brought.pad):
            raise InvalidOption("--pad is one grey level, or red,green,blue, from 0 to 255")

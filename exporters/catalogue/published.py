"""Checkpoints that their authors publish as a file on the web."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class PublishedFile:
    """One file on the web that never changes."""

    address: str
    """Where a program can fetch it, http or https."""
    sha256: str
    """Of the file, 64 hexadecimal digits."""
    size_bytes: int | None = None
    """Where it is known."""

    @property
    def name(self) -> str:
        """As its authors call the file."""
        return self.address.rpartition("/")[2]

    def __str__(self) -> str:
        size = f" ({self.size_bytes / 1e6:.1f} MB)" if self.size_bytes else ""
        return f"{self.address}{size}"


_YOLOX_RELEASE: Final = "https://github.com/Megvii-BaseDetection/YOLOX/releases/download/0.1.1rc0"
_YOLOX_FILES: Final = {
    "yolox_nano": (
        "yolox_nano.pth",
        "cd28f55fbbc1829f99d9ac9b38a16d259a22889739c8728ea877610201feff7b",
        7_694_953,
    ),
    "yolox_tiny": (
        "yolox_tiny.pth",
        "9de513de589ac98bb92d3bca53b5af7b9acfa9b0bacb831f7999d0f7afaee8f0",
        40_755_013,
    ),
    "yolox_s": (
        "yolox_s.pth",
        "f55ded7181e1b0c13285c56e7790b8f0e8f8db590fe4edb37f0b7f345c913a30",
        72_089_125,
    ),
    "yolox_m": (
        "yolox_m.pth",
        "60076992b32da82951c90cfa7bd6ab70eba9eda243e08b940a396f60ac2d19b6",
        203_114_461,
    ),
    "yolox_l": (
        "yolox_l.pth",
        "1e6b7fa6240375370b2a8a8eab9066b3cdd43fd1d0bfa8d2027fd3a51def2917",
        434_357_141,
    ),
    "yolox_x": (
        "yolox_x.pth",
        "5652330b6ae860043f091b8f550a60c10e1129f416edfdb65c259be6caf355cf",
        793_463_373,
    ),
    "yolox_darknet53": (
        "yolox_darknet.pth",
        "b5905e9faf500a2608c93991f91a41a6150bcd2dd30986865a73becd94542fa1",
        None,
    ),
}
YOLOX: Final[dict[str, PublishedFile]] = {
    network: PublishedFile(f"{_YOLOX_RELEASE}/{file}", sha256, size)
    for network, (file, sha256, size) in _YOLOX_FILES.items()
}
"""Release 0.1.1rc0 of YOLOX, 80 COCO classes, by network.

The addresses are those of its README. Hashes and sizes are those that other projects pin; nothing was fetched when they
were written down here.
"""
SWIFTNET_PAGE: Final = "https://github.com/orsic/swiftnet#evaluate"
"""Links to a folder with `swiftnet_ss_cs.pt` and `swiftnet_pyr_cs.pt`; its readers found the link expired in 2023."""

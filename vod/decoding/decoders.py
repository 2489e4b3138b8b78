"""What decodes a video's frames."""

from __future__ import annotations

from enum import Enum


class Decoder(str, Enum):
    """Where frames are decoded and scaled."""

    AUTO = "auto"
    """On the GPU where that was found to work, else on the CPU."""
    CPU = "cpu"
    GPU = "gpu"
    """On the GPU, and on the CPU only what the GPU cannot do; an error where it does not work at all."""

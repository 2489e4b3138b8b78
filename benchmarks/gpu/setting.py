"""What every part is told, and what it says at its end."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from PIL import Image, ImageDraw

ACCURATE: Final = "nanodet_g"
"""Network whose accuracy is measured: its weights come with reeltag."""
WIDTH, HEIGHT = 1280, 720
_PICTURES: Final = 64
_SEED: Final = 7


@dataclass(frozen=True)
class Setting:
    """What is measured, on what."""

    device: str
    """`cuda` or `cpu`."""
    network: str
    """Name in the catalogue; one without weights gets random ones, which change no speed."""
    seconds: float
    """Of one measurement."""
    repository: Path
    """Model repository that the part `prepare` fills."""
    photographs: Path | None
    """Folder of the pictures that accuracy is measured on, and `annotations`, COCO JSON."""
    annotations: Path | None
    video: Path | None
    """Drawn without it."""

    @property
    def on_gpu(self) -> bool:
        """Whether a GPU is measured."""
        return self.device == "cuda"


@dataclass(frozen=True)
class Figure:
    """One line of the table."""

    what: str
    value: float
    unit: str
    detail: str = ""


@dataclass
class Said:
    """What a part says."""

    figures: list[Figure] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)
    """A table of its own."""

    def add(self, what: str, value: float, unit: str, detail: str = "") -> None:
        """One figure more."""
        self.figures.append(Figure(what, value, unit, detail))


def jpegs_720p(count: int = _PICTURES) -> list[bytes]:
    """JPEGs of 1280x720 and about 150 KiB, drawn, so that no package with pictures is needed."""
    generator = np.random.default_rng(_SEED)
    grain = generator.normal(0, 4, (HEIGHT, WIDTH, 1))
    drawn = []
    for _ in range(count):
        small = generator.integers(0, 256, (9, 16, 3), np.uint8)
        picture = Image.fromarray(small).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
        canvas = ImageDraw.Draw(picture)
        for _ in range(40):
            x, y, side = (int(generator.integers(0, limit)) for limit in (WIDTH, HEIGHT, 200))
            colour = tuple(int(value) for value in generator.integers(0, 256, 3))
            canvas.rectangle((x, y, x + side, y + side // 2), fill=colour)
        pixels = (np.asarray(picture) + grain).clip(0, 255).astype(np.uint8)
        content = io.BytesIO()
        Image.fromarray(pixels).save(content, "JPEG", quality=85)
        drawn.append(content.getvalue())
    return drawn

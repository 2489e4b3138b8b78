"""What makes a network's input of a camera's NV12 where the network runs: `nv12.onnx`, and what it is given."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

GRAPH = Path(__file__).with_name("nv12.onnx")
"""Written by `python -m exporters.graphs.nv12`."""
OUTPUT = "FRAME"
Plane = npt.NDArray[np.uint8]


class Nv12Weights(NamedTuple):
    """How frames of one size and kind of colours become an input of R rows and C columns; computed once."""

    luma_rows: npt.NDArray[np.float16]
    """float16 `[R, H]`: shares of the camera's rows in the input's; zero where padding lies."""
    luma_columns: npt.NDArray[np.float16]
    """float16 `[W, C]`."""
    chroma_rows: npt.NDArray[np.float16]
    """float16 `[R, H / 2]`."""
    chroma_columns: npt.NDArray[np.float16]
    """float16 `[W / 2, C]`."""
    colours: npt.NDArray[np.float32]
    """float32 `[3, 3]`: what Y, U and V add to red, green and blue."""
    ground: npt.NDArray[np.float32]
    """float32 `[R, C, 3]`: what is added to that, and the colour of the padding."""

    @property
    def inputs(self) -> dict[str, npt.NDArray[Any]]:
        """By their names in the graph."""
        return {name.upper(): values for name, values in zip(self._fields, self)}

    @property
    def luma_shape(self) -> tuple[int, int]:
        """Of the plane Y: `[H, W]`."""
        return self.luma_rows.shape[1], self.luma_columns.shape[0]

    @property
    def chroma_shape(self) -> tuple[int, int, int]:
        """Of the plane of U and V: `[H / 2, W / 2, 2]`."""
        return self.chroma_rows.shape[1], self.chroma_columns.shape[0], 2


class Nv12Fit(Protocol):
    """Fits the frames of one camera."""

    def __call__(self, luma: Plane, chroma: Plane, index: int) -> None:
        """Make picture `index` of the next batch; the planes are read until the network was run.

        Args:
            luma: uint8 `[H, W]`, without gaps between the rows.
            chroma: uint8 `[H / 2, W / 2, 2]`, without gaps.
            index: Of the picture in the batch.
        """


class Nv12Input(Protocol):
    """The part of a network on a GPU that takes NV12."""

    def fit(self, weights: Nv12Weights) -> Nv12Fit:
        """For frames of one size and kind of colours: memory is taken, and the weights copied, here."""

    def frame_memory(self, size: int) -> Plane:
        """uint8 `[size]` from which the GPU copies fastest; freed with the last array of it."""

"""What makes a network's input of a camera's NV12 where the network runs: `nv12.onnx`, and what it is given."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable, Mapping, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from edge.runtimes.cuda import Cuda
from edge.runtimes.memory import Host, Memory, Tensor

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


class Nv12Fitter:
    """Makes pictures of NV12 where a network computes, before it on the same stream.

    Args:
        place: Where that is.
        frames: The network's input.
        ready: Told which pictures of the next batch are there.
        bind: Makes a run of `nv12.onnx` with these tensors, which computes at once, and again at each call.
    """

    def __init__(
        self,
        place: Cuda | Host,
        frames: Memory,
        ready: set[int],
        bind: Callable[[Mapping[str, Tensor], Mapping[str, Tensor]], Callable[[], None]],
    ) -> None:
        self._place, self._frames, self._ready, self._bind = place, frames, ready, bind
        self._made: list[tuple[dict[str, Memory], dict[int, Callable[[], None]]]] = []
        """Memory that runs read, and the runs."""

    def fit(self, weights: Nv12Weights, index: int) -> Nv12Fit:
        """For frames of one size and kind of colours: memory is taken, and the weights copied, here.

        Args:
            weights: Of such frames.
            index: Of the picture in the next batch that comes first; it is overwritten at once.

        Raises:
            SetupError: There is no memory, or such frames cannot be computed there.
        """
        memories = {name: self._place.memory(values.shape, values.dtype) for name, values in weights.inputs.items()}
        for name, values in weights.inputs.items():
            self._place.copy(values, memories[name])
        luma = memories["LUMA"] = self._place.memory(weights.luma_shape, np.uint8)
        chroma = memories["CHROMA"] = self._place.memory(weights.chroma_shape, np.uint8)
        self._place.wait()
        inputs = {
            name: Tensor(each.address, each.array.dtype.type, each.array.shape) for name, each in memories.items()
        }
        runs = {index: self._bind(inputs, {OUTPUT: self._output(index)})}  # now, so that what fails does so here
        self._made.append((memories, runs))

        def fitted(luma_plane: Plane, chroma_plane: Plane, index: int) -> None:
            self._place.copy(luma_plane, luma)
            self._place.copy(chroma_plane, chroma)
            if index in runs:
                runs[index]()
            else:  # which computes, too
                runs[index] = self._bind(inputs, {OUTPUT: self._output(index)})
            self._ready.add(index)

        return fitted

    def frame_memory(self, size: int) -> Plane:
        """uint8 `[size]` that is copied from fastest; freed with the last array of it."""
        return self._place.pinned(size)

    def close(self) -> None:
        """Let go of the runs; what `fit` made is of no use any more."""
        for _, runs in self._made:
            runs.clear()
        del self._bind

    def _output(self, index: int) -> Tensor:
        picture = self._frames.array[index]
        return Tensor(self._frames.address + index * picture.nbytes, np.uint8, picture.shape)

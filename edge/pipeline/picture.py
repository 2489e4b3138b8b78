"""The picture of a camera: fitted into the network's input, and as RGB where somebody looks at it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from reeltag.errors import SetupError

from edge.capture.colours import Colours, FromNv12
from edge.capture.frame import Frame
from edge.pipeline.fitting import Fitting
from edge.runtimes.network import Network
from edge.runtimes.nv12 import Nv12Fit
from edge.words import Picture


class CameraPicture:
    """Makes the pictures of one camera; memory is taken where their size changes.

    Frames in NV12 are fitted by a network that takes it, all others here.

    Args:
        view: Of the network, such as `LETTERBOX_416X416_PAD114`.
    """

    def __init__(self, view: str) -> None:
        self._view = view
        self.fitting: Fitting | None = None
        """Of the newest picture."""
        self.where = ""
        """Where the newest picture was fitted: `network` or `host`."""
        self.fitted = {"network": 0, "host": 0}
        """Pictures that were fitted there."""
        self._frame: Frame | None = None
        self._is_converted = False
        self._nv12_fits: dict[tuple[int, int, Colours], Nv12Fit | None] = {}
        self._from_nv12: FromNv12 | None = None
        self._rgb: Picture = np.empty((0, 0, 3), np.uint8)

    def prepare(self, frame: Frame, network: Network, index: int) -> None:
        """Fit a frame into the network's input.

        Args:
            frame: Of the camera; it is read until the network was run, and by `rgb`.
            network: That is given it.
            index: Of the picture in the network's next batch.
        """
        self.look_at(frame)
        size = self.size
        if self.fitting is None or self.fitting.size != size:
            self.fitting = Fitting(self._view, *size)
        fit = self._nv12_fit(frame, network, index)
        self.where = "host" if fit is None else "network"
        self.fitted[self.where] += 1
        if fit is not None:
            fit(*frame.planes, index)
        elif frame.colours is not None and self.fitting.averages and frame.height % 2 == frame.width % 2 == 0:
            self.fitting.place_nv12(frame.luma, frame.chroma, frame.colours, network.frames[index])
        else:
            self.fitting.place(self.rgb, network.frames[index])

    def to_source(self, boxes: npt.NDArray[np.float32]) -> None:
        """Map boxes `[N, 4]` from pixels of the network's input to those of the newest picture, in place, clipped."""
        assert self.fitting is not None
        self.fitting.to_source(boxes)

    def _nv12_fit(self, frame: Frame, network: Network, index: int) -> Nv12Fit | None:
        """What takes such frames where the network runs; none where only OpenCV does."""
        if network.nv12 is None or frame.colours is None:
            return None
        assert self.fitting is not None
        kind = (*self.size, frame.colours)
        if kind not in self._nv12_fits:
            try:
                self._nv12_fits[kind] = network.nv12.fit(self.fitting.nv12_weights(frame.colours), index)
            except SetupError:  # no memory there, or a size that a plan does not take
                self._nv12_fits[kind] = None
        return self._nv12_fits[kind]

    def look_at(self, frame: Frame) -> None:
        """Make this the frame that `rgb` is of, until the next one."""
        self._frame, self._is_converted = frame, False

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns of the newest frame."""
        assert self._frame is not None
        return self._frame.height, self._frame.width

    @property
    def rgb(self) -> Picture:
        """uint8 `[H, W, 3]`, RGB: made when it is first asked for; valid until the frame is given back."""
        frame = self._frame
        assert frame is not None
        if frame.colours is None:
            return frame.rgb
        if not self._is_converted:
            self._convert(frame, frame.colours)
        return self._rgb

    def _convert(self, frame: Frame, colours: Colours) -> None:
        if self._rgb.shape[:2] != self.size or self._from_nv12 is None or self._from_nv12.colours != colours:
            self._rgb = np.empty((*self.size, 3), np.uint8)
            self._from_nv12 = FromNv12(*self.size, colours)
        self._from_nv12(frame.luma, frame.chroma, self._rgb)
        self._is_converted = True

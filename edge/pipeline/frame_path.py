"""A frame's way from memory to boxes: what `reeltag watch` does with it but for camera, tracks and events."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edge.capture.colours import Colours
from edge.capture.frame import Frame
from edge.pipeline.picture import CameraPicture
from edge.pipeline.suppression import Suppression
from edge.runtimes.artefacts import NetworkArtefact, find_detector
from edge.runtimes.network import Network, open_network
from edge.words import Detections

_OPENCVS = Colours()
"""BT.601 of limited range, which OpenCV makes of pictures."""


class FramePath:
    """Takes single frames, one after another, in memory that is used again.

    Args:
        artefact: The network.
        network: The same, loaded.
        score_threshold: Boxes that do not exceed it are left out, 0 to 1.
    """

    def __init__(self, artefact: NetworkArtefact, network: Network, score_threshold: float) -> None:
        self._network = network
        self._picture = CameraPicture(artefact.view)
        self._suppression = Suppression(artefact.nms, score_threshold)
        self.seconds = (0.0, 0.0, 0.0)
        """Of the newest frame: pre-processing, network, suppression."""

    @property
    def takes_nv12(self) -> bool:
        """Whether frames become the network's input where it computes, and not by OpenCV."""
        return self._network.nv12 is not None

    @property
    def said(self) -> str:
        """What ran where, for people."""
        fitted = self._picture.fitted
        return f"{self._network.runtime}; frames fitted: {fitted['network']} where it runs, {fitted['host']} by OpenCV"

    def frame(
        self,
        luma: npt.NDArray[np.uint8],
        chroma: npt.NDArray[np.uint8],
        colours: Colours = _OPENCVS,
    ) -> Frame:
        """A frame in memory as a camera's thread has it.

        Args:
            luma: uint8 `[H, W]`, Y.
            chroma: uint8 `[H / 2, W / 2, 2]`, U and V.
            colours: What the numbers mean.
        """
        frame = Frame() if self._network.nv12 is None else Frame(self._network.nv12.frame_memory)
        height, width = luma.shape
        frame.shape_as(height, width, colours)
        frame.luma[:], frame.chroma[:] = luma, chroma
        return frame

    def __call__(self, frame: Frame) -> Detections:
        """Boxes in pixels of the frame; valid until the next call."""
        began = time.perf_counter()
        self._picture.prepare(frame, self._network, 0)
        prepared = time.perf_counter()
        outputs = self._network.run(1)
        computed = time.perf_counter()
        boxes = self._suppression([output[0] for output in outputs])
        self._picture.to_source(boxes[:, :4])
        self.seconds = (prepared - began, computed - prepared, time.perf_counter() - computed)
        return boxes

    def close(self) -> None:
        """Free the network."""
        self._network.close()


def open_frame_path(repository: Path, score_threshold: float) -> FramePath:
    """The way through the detector of a model repository; raises as `find_detector` and `open_network`."""
    artefact = find_detector(repository)
    return FramePath(artefact, open_network(artefact), score_threshold)

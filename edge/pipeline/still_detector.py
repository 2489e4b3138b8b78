"""A detector that looks at one picture now and then, of any size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from edge.pipeline.fitting import Fitting
from edge.pipeline.suppression import Suppression
from edge.runtimes.artefacts import find_detector
from edge.runtimes.network import open_network
from edge.words import Picture


class StillDetector:
    """A detector of a model repository.

    Args:
        repository: Model repository.
        name: Of the detector; None for its default one.
        score: Boxes that do not exceed it are left out, 0 to 1.
        runtime: As for `open_network`.

    Raises:
        UnknownModel: It has none of that name.
        SetupError: Nothing runs it.
    """

    def __init__(self, repository: Path, name: str | None, score: float, runtime: str | None = None) -> None:
        artefact = find_detector(repository, name)
        self._network = open_network(artefact, runtime=runtime)
        self._suppression = Suppression(artefact.nms, score)
        self._view = artefact.view

    def __call__(self, picture: Picture) -> npt.NDArray[np.float32]:
        """What is in a picture, float32 `[N, 6]` in its pixels, the best first."""
        fitting = Fitting(self._view, *picture.shape[:2])
        fitting.place(np.ascontiguousarray(picture), self._network.frames[0])
        found = self._suppression([output[0] for output in self._network.run(1)])
        fitting.to_source(found[:, :4])
        return found[np.argsort(-found[:, 4])]

    def close(self) -> None:
        """Free the network."""
        self._network.close()

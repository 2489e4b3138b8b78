"""The two networks that read plates, from the model repository."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edge.configuration.words import Configuration
from edge.pipeline.fitting import Fitting
from edge.pipeline.suppression import Suppression
from edge.runtimes.artefacts import find_detector
from edge.runtimes.network import open_network
from edge.traffic.plates import PlateReader
from edge.traffic.salts import HOURS, Salts
from edge.traffic.texts import Recogniser
from edge.words import Picture

_SCORE = 0.4


class PlateFinder:
    """A detector of plates.

    Args:
        repository: Model repository.
        name: Of the detector.
        runtime: As for `open_network`.

    Raises:
        UnknownModel: It has none of that name.
        SetupError: Nothing runs it.
    """

    def __init__(self, repository: Path, name: str, runtime: str | None = None) -> None:
        artefact = find_detector(repository, name)
        self._network = open_network(artefact, runtime=runtime)
        self._suppression = Suppression(artefact.nms, _SCORE)
        self._view = artefact.view

    def __call__(self, picture: Picture) -> npt.NDArray[np.float32]:
        """Plates in the picture of a vehicle, float32 `[N, 6]`, the best first."""
        fitting = Fitting(self._view, *picture.shape[:2])
        fitting.place(np.ascontiguousarray(picture), self._network.frames[0])
        found = self._suppression([output[0] for output in self._network.run(1)])
        fitting.to_source(found[:, :4])
        return found[np.argsort(-found[:, 4])]

    def close(self) -> None:
        """Free the network."""
        self._network.close()


class PlateReading:
    """What the cameras of a process share to read plates: both networks and the salt.

    Args:
        configuration: Which has `plates`.
        repository: Model repository.
        runtime: Of the plate detector, as for `open_network`.

    Raises:
        UnknownModel: A network is not there.
        SetupError: Nothing runs it.
    """

    def __init__(self, configuration: Configuration, repository: Path, runtime: str | None = None) -> None:
        settings: Any = configuration.plates
        self._settings = settings
        self._read = Recogniser(repository, settings["recogniser"])
        self._find = PlateFinder(repository, settings["detector"], runtime)
        folder = configuration.path.parent / configuration.events.get("folder", "spool")
        self.salts: Salts | None = None
        """None where plates are kept raw."""
        if not configuration.shows_plates:
            self.salts = Salts(folder / "plate-salt.json", settings.get("salt_hours", HOURS))

    def reader(self) -> PlateReader:
        """Of one camera more."""
        return PlateReader(self._settings, self._find, self._read, self.salts)

    def close(self) -> None:
        """Free the networks."""
        self._find.close()

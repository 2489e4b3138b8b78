"""The two networks that read plates, from the model repository."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edge.configuration.words import Configuration
from edge.pipeline.still_detector import StillDetector
from edge.traffic.plates import PlateReader
from edge.traffic.salts import HOURS, Salts
from edge.traffic.texts import Recogniser

_SCORE = 0.4


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
        self._find = StillDetector(repository, settings["detector"], _SCORE, runtime)
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

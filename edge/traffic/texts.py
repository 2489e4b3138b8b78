"""A text recogniser that `reeltag export --task text` has written."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from reeltag.errors import ModelRepositoryError, SetupError, UnknownModel

from edge.traffic.plates import Reading
from edge.words import Picture

_FOLDER = ".text"
_CARD = "reeltag"
_GREY = 127


class Recogniser:
    """Reads one line of text.

    Args:
        repository: Model repository.
        name: Of the recogniser.

    Raises:
        UnknownModel: It has none of that name.
        SetupError: ONNX Runtime is missing.
        ModelRepositoryError: The file is another.
    """

    def __init__(self, repository: Path, name: str) -> None:
        file = repository / _FOLDER / f"{name}.onnx"
        if not file.is_file():
            raise UnknownModel(
                f"{repository} has no text recogniser {name}; export one: reeltag export {name} --onnx FILE --task text"
            )
        try:
            ort: Any = importlib.import_module("onnxruntime")
        except ImportError as error:
            raise SetupError("reading plates needs ONNX Runtime; run: pip install onnxruntime") from error
        try:
            self._session = ort.InferenceSession(str(file), providers=ort.get_available_providers())
            card = json.loads(self._session.get_modelmeta().custom_metadata_map[_CARD])
            self._characters: list[str] = card["characters"]
            self._frame = np.empty((1, card["height"], card["width"], 3), np.uint8)
        except Exception as error:  # it has an exception of its own for each kind of trouble
            raise ModelRepositoryError(f"{file} is no text recogniser: {error!s:.200}; export it again") from error

    def __call__(self, picture: Picture) -> Reading:
        """What a picture says: capital letters and digits.

        Args:
            picture: uint8 `[H, W, 3]`, RGB, one line of text.
        """
        rows, columns = self._frame.shape[1:3]
        height, width = picture.shape[:2]
        if not height or not width:
            return Reading("", ())
        used = min(max(round(width * rows / height), 1), columns)
        self._frame[:] = _GREY
        self._frame[0, :, :used] = cv2.resize(picture, (used, rows), interpolation=cv2.INTER_LINEAR)
        text, scores = self._session.run(["TEXT", "SCORES"], {"FRAMES": self._frame})
        return self._decoded(text[0], scores[0])

    def _decoded(self, text: Any, scores: Any) -> Reading:
        """By connectionist temporal classification: repeated characters are one, blanks are none."""
        found, sure = [], []
        for place, index in enumerate(text):
            if index and (not place or index != text[place - 1]):
                for character in self._characters[index].upper():
                    if character.isalnum():
                        found.append(character)
                        sure.append(float(scores[place]))
        return Reading("".join(found), tuple(sure))

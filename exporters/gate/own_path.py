"""An artefact's stages one by one in this process: its graph in OpenVINO as the server runs it, and what follows."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from exporters.graphs import compare
from exporters.graphs.compare import Floats
from exporters.graphs.compose import one_by_one
from exporters.graphs.heads import network_outputs
from exporters.graphs.plain import plainly_fitted
from exporters.publishing.artefact import Artefact
from exporters.publishing.repository import default_repository
from reeltag.areas import ClassMap
from reeltag.contract import (
    BOXES,
    CANDIDATES,
    CLASS_MAP,
    CLASSES,
    COUNT,
    FRAMES,
    MAX_DETECTIONS,
    NMS,
    SCORE_THRESHOLD,
    SCORES,
)
from reeltag.errors import InputError, ModelRepositoryError
from reeltag.frames import Geometry, ImageError, Pixels, View, decode_views

if TYPE_CHECKING:
    from types import ModuleType

Outputs = dict[str, npt.NDArray[Any]]
"""Tensors of one batch by name."""
_DECODED_HERE: Final = ("gfl", "yolox")
"""Heads whose maps NumPy decodes, to tell the network's loss from that of decoding in the graph."""


def fitted(picture: Path, view: View | None) -> tuple[Pixels, Geometry]:
    """A picture as the `decode` backend fits it: uint8 `(height, width, 3)` RGB, and where the picture lies in it.

    Raises:
        InputError: It cannot be read.
    """
    assert view is not None
    frame = np.empty((view.height, view.width, 3), np.uint8)
    try:
        (geometry,) = decode_views(picture.read_bytes(), [view], [frame])
    except (OSError, ImageError) as error:
        raise InputError(f"{picture} cannot be read: {error}") from error
    return frame, geometry


@dataclass(frozen=True)
class Views:
    """A picture fitted as reeltag does, and perhaps plainly."""

    frame: Pixels
    geometry: Geometry
    plain: tuple[Pixels, Geometry] | None

    @classmethod
    def of(cls, picture: Path, view: View | None, with_plain: bool) -> Views:
        """Read a picture.

        Raises:
            InputError: It cannot be read.
        """
        assert view is not None
        frame, geometry = fitted(picture, view)
        return cls(frame, geometry, plainly_fitted(picture.read_bytes(), view) if with_plain else None)


class OwnPath:
    """The artefact's graph, in its precision, and its post-processing.

    Args:
        artefact: Of a TensorRT plan the graph is run that it was built from.
    """

    def __init__(self, artefact: Artefact) -> None:
        import openvino  # noqa: PLC0415  # takes longer to import than all the rest

        self.spec = artefact.spec
        core = openvino.Core()
        model = core.read_model(artefact.graph or artefact.file)
        self._suppresses = artefact.passport.nms == "engine"
        self._maps = network_outputs(self.spec) if self.spec.head in _DECODED_HERE else []
        inner = [*self._maps, *([CANDIDATES] if self._suppresses else [])]
        if inner:
            model.add_outputs(inner)
        properties = {"INFERENCE_PRECISION_HINT": artefact.openvino_precision}
        self._is_one_by_one = artefact.passport.one_by_one
        self._compiled = core.compile_model(model, "CPU", properties)
        self._suppression = _suppression()

    def run(self, frames: npt.NDArray[np.uint8]) -> Outputs:
        """All tensors that the other methods take: of frames uint8 `(N, *input_shape)`."""
        return one_by_one(self._run, {FRAMES: frames}) if self._is_one_by_one else self._run({FRAMES: frames})

    def _run(self, inputs: Outputs) -> Outputs:
        answers = self._compiled(inputs)
        return {output.get_any_name(): answers[output] for output in self._compiled.outputs}

    def plainly_decoded(self, outputs: Outputs) -> Floats:
        """Boxes as the network alone says: float32 `(N, cells, 6)` as `CANDIDATES`, decoded in NumPy.

        Where that is not known how to, they are the graph's own `CANDIDATES`.
        """
        spec = compare.every_cell(self.spec)
        if self.spec.head == "gfl":
            return compare.decode_gfl(spec, outputs)
        if self.spec.head == "yolox":
            return compare.decode_yolox(spec, _yolox_cells(outputs, self._maps))
        return np.asarray(outputs[CANDIDATES], np.float32)

    def detections(self, outputs: Outputs, index: int, geometry: Geometry) -> Floats:
        """What the artefact and the `nms` backend make of one picture: float32 `(M, 6)`, boxes in source pixels."""
        if self._suppresses:
            found = (outputs[name][index] for name in (BOXES, SCORES, CLASSES, COUNT))
        else:
            suppressed = self._suppression.suppress(
                outputs[CANDIDATES][index : index + 1],
                score_threshold=SCORE_THRESHOLD,
                iou_threshold=self.spec.iou_threshold,
                max_detections=MAX_DETECTIONS,
            )
            found = (tensor[0] for tensor in suppressed)
        boxes, scores, classes, count = found
        in_source = self._suppression.to_source(boxes[None], geometry.to_array()[None])[0]
        return np.column_stack([in_source, scores, classes])[: int(count[0])].astype(np.float32)

    @staticmethod
    def scores(outputs: Outputs) -> Floats:
        """Of a classifier: float32 `(N, C)`."""
        return np.asarray(outputs[SCORES], np.float32)

    @staticmethod
    def class_maps(outputs: Outputs) -> ClassMap:
        """uint8 `(N, H, W)`."""
        return np.asarray(outputs[CLASS_MAP], np.uint8)


def _yolox_cells(outputs: Outputs, maps: list[str]) -> Floats:
    """Head maps as YOLOX' `forward` answers them: `(N, cells, 5 + C)`, objectness and classes after the sigmoid."""
    rows = [outputs[name].reshape(*outputs[name].shape[:2], -1).transpose(0, 2, 1) for name in maps]
    cells = np.concatenate(rows, 1)
    return np.concatenate([cells[..., :4], 1 / (1 + np.exp(-cells[..., 4:]))], 2)


def _suppression() -> ModuleType:
    """The pure part of the `nms` backend."""
    path = default_repository() / NMS / "1" / "suppression.py"
    spec = importlib.util.spec_from_file_location("reeltag_suppression", path)
    if spec is None or spec.loader is None or not path.is_file():
        raise ModelRepositoryError(f"{path} is missing; restore it from the repository of reeltag")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module

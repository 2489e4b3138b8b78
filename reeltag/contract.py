"""The tensors, ensembles and model card that exporters and clients share.

Shapes are written without the batch axis, as Triton's `dims` are; every model batches along axis 0.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from enum import Enum
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from reeltag.frames import View
from reeltag.measured import Measured
from reeltag.palettes import RGB, default_palette

IMAGE: Final = "IMAGE"
"""BYTES `[1]`: one encoded image (of one of `frames.FORMATS`)."""
FRAMES: Final = "FRAMES"
"""uint8 `[H, W, 3]` RGB for networks of pictures, `[window, 27, 48, 3]` for the shot detector."""
ERROR: Final = "ERROR"
"""BYTES `[1]`: empty when the image was decoded, otherwise `code: message`."""
GEOMETRY: Final = "GEOMETRY"
"""float32 `[6]`: scale_x, scale_y, offset_x, offset_y, source width, source height (`frames.Geometry`)."""
CANDIDATES: Final = "CANDIDATES"
"""float32 `[K, 6]`: x1, y1, x2, y2 (input pixels), score, class; by falling score."""
BOXES: Final = "BOXES"
"""float32 `[M, 4]`: x1, y1, x2, y2, padded with zeros."""
SCORES: Final = "SCORES"
"""float32 `[M]` of boxes (padded with zeros), or float32 `[C]` of classes."""
CLASSES: Final = "CLASSES"
"""int32 `[M]`: class index of each box, padded with zeros."""
COUNT: Final = "COUNT"
"""int32 `[1]`: how many of the M boxes are real."""
CLASS_MAP: Final = "CLASS_MAP"
"""uint8 `[H, W]`: class index of each pixel of the input; on the image path `areas.NO_CLASS` beside the picture."""
SHARES: Final = "SHARES"
"""float32 `[C]`: share of the pixels that each class has, 0 to 1; of the picture's on the image path, where a letterbox
does not count, of the input's on the frames path."""
CUTS: Final = "CUTS"
"""float32 `[100]`: probability that a shot ends with this frame."""

CARD_PARAMETER: Final = "reeltag"
"""Key of the config parameter of an ensemble that holds its `ModelCard` as JSON."""
VIEWS_PARAMETER: Final = "views"
"""Key of the `decode` model's config parameter: a JSON list of view names."""

SMALL_IMAGE: Final = base64.b64decode(
    "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAFA3PEY8MlBGQUZaVVBfeMiCeG5uePWvuZHI///////////////////////////////////////////////"
    "/////wAALCAAIAAgBAREA/8QAFAABAAAAAAAAAAAAAAAAAAAAAP/EABQQAQAAAAAAAAAAAAAAAAAAAAD/2gAIAQEAAD8AP//Z"
)
"""A grey JPEG, 8 x 8."""

MAX_BATCH_SIZE: Final = 32
"""Largest batch of every model in the repository; the gateway and the jobs never send more in one request."""

MAX_DETECTIONS: Final = 100
"""M, the most boxes of a picture."""
SCORE_THRESHOLD: Final = 0.01
"""Boxes with a lower score are never answered; clients choose higher ones."""
IOU_THRESHOLD: Final = 0.65
"""Two boxes of one class that overlap more are one object: YOLOX's published value, as good for NanoDet."""

Suppression = Literal["python", "engine", "network"]
"""What suppresses a detector's boxes: the `nms` backend, its graph, or nothing, because those of the network are final;
the backend then only chooses the best of them and brings them into the picture."""
DECODE: Final = "decode"
"""Name of the backend that turns `IMAGE` into `FRAMES` of each view."""
NMS: Final = "nms"
"""Name of the backend that turns `CANDIDATES` into `BOXES`, `SCORES`, `CLASSES` and `COUNT`."""
NMS_OF_KIND: Final[dict[Suppression, str]] = {"python": NMS, "engine": f"{NMS}_engine", "network": f"{NMS}_final"}
"""Name of that backend by what suppresses a detector's boxes: each kind has a model of its own, so that detectors of
several kinds are served at once."""
AREAS: Final = "areas"
"""Name of the backend that leaves a letterbox's border out of a class map."""

SHOT_WINDOW_FRAMES: Final = 100
"""Frames in one window of a shot detector whose card says nothing of it, as cards did not in earlier versions."""
SHOT_CONTEXT_FRAMES: Final = 25
"""Frames at each end of a window that only give context: their probabilities are not used."""


class Task(str, Enum):
    """What can be asked of an image or a frame; the value is the ensemble's name."""

    DETECT = "detect"
    CLASSIFY = "classify"
    SEGMENT = "segment"

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the tensors that the task's ensembles answer, without `GEOMETRY` and `ERROR`."""
        return TASK_OUTPUTS[self]

    @property
    def frames_ensemble(self) -> str:
        """The ensemble that takes `FRAMES` instead of `IMAGE`."""
        return f"{self.value}_frames"


TASK_OUTPUTS: Final[dict[Task, tuple[str, ...]]] = {
    Task.DETECT: (BOXES, SCORES, CLASSES, COUNT),
    Task.CLASSIFY: (SCORES,),
    Task.SEGMENT: (CLASS_MAP, SHARES),
}
BUNDLED_TASKS: Final = (Task.DETECT, Task.CLASSIFY)
"""Tasks whose networks come with reeltag: what is done where nothing else is asked, and what a server must serve."""
SHOTS_ENSEMBLE: Final = "shots"


def image_ensemble(tasks: tuple[Task, ...]) -> str:
    """Name of the ensemble that answers `tasks` from one decoding: such as `detect` or `detect_segment`."""
    return "_".join(task.value for task in Task if task in tasks)


def named_ensemble(ensemble: str, network: str) -> str:
    """Name of the ensemble of one network by its name: such as `detect.yolox_s`, beside the `detect` of the default."""
    return f"{ensemble}.{network}"


def joint_output(task: Task, tensor: str) -> str:
    """Name of a task's output tensor in an ensemble of several tasks, such as `CLASSIFY_SCORES`."""
    return f"{task.value.upper()}_{tensor}"


def ensemble_version(cards: Mapping[Task, ModelCard]) -> str:
    """Triton's version of the ensemble that answers several tasks from one decoding: that of these networks, no other.

    Args:
        cards: Of the network of each task, at least one.
    """
    versions = [cards[task].version for task in Task if task in cards]
    return versions[0] if len(versions) == 1 else _version_of(*versions)


def _version_of(*said: str) -> str:
    """A number that Triton takes for a version, 1 to 2**48; two texts share one in 1 of 10**14 cases."""
    return str(int(hashlib.sha256("\n".join(said).encode()).hexdigest()[:12], 16) + 1)


class ModelCard(BaseModel):
    """What a client must know of the network behind an ensemble; read from Triton, never repeated as literals."""

    model_config = ConfigDict(frozen=True)

    network: str
    """Name of the network's own folder in the model repository."""
    task: Literal["detect", "classify", "segment", "shots"]
    version: str = "1"
    """Triton's version of the network and of its own ensembles; changes with anything else that is said here
    (`numbered`), so that an answer of this version is an answer of this network."""
    height: int = Field(gt=0)
    """Rows of the network's input, pixels."""
    width: int = Field(gt=0)
    """Columns of the network's input, pixels."""
    window_frames: int | None = Field(None, gt=2 * SHOT_CONTEXT_FRAMES)
    """Of the shot detector: frames in one window; absent is `SHOT_WINDOW_FRAMES`."""
    view: str = ""
    """Name of the `frames.View` that turns a picture into the input; empty for the shot detector."""
    labels: tuple[str, ...] = ()
    """Class names by index; empty for the shot detector."""
    groups: dict[str, tuple[int, ...]] = {}
    """Class indexes of each group of related classes, by its name; what is tagged where no single class is certain."""
    colours: tuple[RGB, ...] = ()
    """Of a segmenter's classes by index; empty where nobody chose any."""
    runtime: str
    """`openvino`, `tensorrt` or `onnxruntime`."""
    precision: str
    """Numeric precision that the network runs in, such as `fp32` or `bf16`."""
    sha256: str
    """Of the served network file."""
    passport_sha256: str = ""
    """Of the passport beside it: what it was built from and for, and what was measured."""
    measured: Measured | None = None
    """What was measured of it, where anything was."""

    @model_validator(mode="after")
    def _a_colour_for_each_class(self) -> ModelCard:
        if self.colours and len(self.colours) != len(self.labels):
            raise ValueError(f"{len(self.colours)} colours for {len(self.labels)} classes")
        return self

    def numbered(self) -> ModelCard:
        """The same card with the version that follows from all the rest of it but what was measured."""
        said = self.model_dump_json(exclude={"version", "measured"}, exclude_none=True)
        return self.model_copy(update={"version": _version_of(said)})

    @property
    def palette(self) -> tuple[RGB, ...]:
        """A colour for each class: those that were chosen, or made-up ones that are always the same."""
        return self.colours or default_palette(len(self.labels))

    @property
    def shot_window(self) -> int:
        """Frames in one window of the shot detector."""
        return self.window_frames or SHOT_WINDOW_FRAMES

    def frames_view(self) -> View:
        """The view that turns a picture into this network's input."""
        return View.parse(self.view)

"""Networks as the model repository has them, read without what wrote them: neither pydantic nor protobuf is needed."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, NamedTuple

from reeltag.errors import ModelRepositoryError, UnknownModel

_CARD = re.compile(r'key:\s*"reeltag"\s*value\s*\{\s*string_value:\s*"((?:[^"\\]|\\.)*)"', re.DOTALL)
FRAMES = "FRAMES"
"""Name of the input of every network of the catalogue: uint8 `[N, H, W, 3]`, RGB."""
_ESCAPES = {b"n": b"\n", b"r": b"\r", b"t": b"\t"}
_SUPPRESSED = ("BOXES", "SCORES", "CLASSES", "COUNT")
_FILES = ("model.plan", "model.onnx")


class NetworkArtefact(NamedTuple):
    """A detector that can be run."""

    name: str
    file: Path
    """`model.plan` or `model.onnx`."""
    runtime: str
    """That it was made for: `tensorrt`, `openvino` or `onnxruntime`."""
    precision: str
    nms: str
    """`python`: boxes are to be suppressed; `engine`: the graph does it; `network`: its boxes are final."""
    height: int
    """Rows of its input, pixels."""
    width: int
    """Columns of its input, pixels."""
    view: str
    """How pictures are fitted into it, such as `LETTERBOX_416X416_PAD114`."""
    class_names: tuple[str, ...]
    plan: dict[str, Any] | None = None
    """Of a plan: what built it, and for what."""

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of its outputs: `CANDIDATES`, or what suppression in the graph makes of them."""
        return _SUPPRESSED if self.nms == "engine" else ("CANDIDATES",)


def find_detector(repository: Path, name: str | None = None) -> NetworkArtefact:
    """The detector of a model repository: the named one, or the one that serves `detect` by default.

    Raises:
        ModelRepositoryError: There is no repository, or what is in it cannot be read.
        UnknownModel: There is no such detector; the text says which there are.
    """
    export = f"reeltag export nanodet_g --profile edge --model-repository {repository}"
    if not repository.is_dir():
        raise ModelRepositoryError(f"{repository} is no model repository; fill one: {export}")
    found: list[tuple[int, NetworkArtefact]] = []
    for config in sorted(repository.glob("*/config.pbtxt")):
        folder = config.parent
        card = _card(config)
        if card is None or card.get("task") != "detect" or not (folder / "passport.json").is_file():
            continue
        file = _file(folder, str(card.get("version", "")))
        if file is not None:
            found.append(_read(folder, file, card))
    if name is not None:
        chosen = [one for one in found if one[1].name == name]
        if not chosen:
            names = ", ".join(one.name for _, one in found) or "none"
            raise UnknownModel(f"{repository} has no detector {name}; it has: {names}")
        return chosen[0][1]
    if not found:
        raise UnknownModel(f"{repository} has no detector; export one: {export}")
    return max(found, key=lambda one: one[0])[1]


def _read(folder: Path, file: Path, card: dict[str, Any]) -> tuple[int, NetworkArtefact]:
    passport_file = folder / "passport.json"
    try:
        passport = json.loads(passport_file.read_text("utf-8"))
        runtime = str(passport["runtime"])
        artefact = NetworkArtefact(
            name=str(card["network"]),
            file=file,
            runtime=runtime,
            precision=str(passport["precision"]),
            nms=str(passport.get("nms", "python")),
            height=int(card["height"]),
            width=int(card["width"]),
            view=str(card["view"]),
            class_names=tuple(map(str, card["labels"])),
            plan=passport.get("plan"),
        )
        return int(passport.get("turn", 0)), artefact
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelRepositoryError(f"{passport_file} or the card beside it cannot be read: {error!r}") from error


def _card(config: Path) -> dict[str, Any] | None:
    """The model card that a config carries; none in one that carries none, such as that of a Python backend."""
    try:
        match = _CARD.search(config.read_text("utf-8"))
        if match is None:
            return None
        card = json.loads(_unescaped(match[1]))
        return card if isinstance(card, dict) else None
    except (OSError, ValueError) as error:
        raise ModelRepositoryError(f"{config} cannot be read: {error}") from error


def _unescaped(text: str) -> str:
    """Text of protocol buffers has the escapes of C, and those of bytes above 127 by number."""

    def meant(escape: re.Match[bytes]) -> bytes:
        said = escape[1]
        return bytes([int(said, 8)]) if said[:1].isdigit() else _ESCAPES.get(said, said)

    return re.sub(rb"\\([0-7]{1,3}|.)", meant, text.encode()).decode()


def _file(folder: Path, version: str) -> Path | None:
    """Of the version of the card; ensembles have none."""
    for name in _FILES:
        if (folder / version / name).is_file():
            return folder / version / name
    return None

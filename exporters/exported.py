"""What a model repository says of the networks in it, which were exported from a user's checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from google.protobuf import text_format  # type: ignore[import-untyped,unused-ignore]  # without types-protobuf

from exporters.catalog import CHECKPOINT_MODELS, ModelSpec, customised
from exporters.configs import LABELS_FILE, ModelConfig
from reeltag.contract import CARD_PARAMETER, ModelCard, Task
from reeltag.triton import model_config_pb2

NETWORK_FILE: Final = "1/model.onnx"
"""Of a network's folder: the composed graph."""


def exported_specs(target: Path) -> list[ModelSpec]:
    """The networks of `CHECKPOINT_MODELS` that a repository holds, with the input size and classes they have there."""
    specs = []
    for spec in CHECKPOINT_MODELS.values():
        folder = target / spec.name
        config = _read_config(folder)
        if config is not None and (folder / NETWORK_FILE).is_file():
            height, width = config.input[0].dims[:2]
            specs.append(customised(spec, (height, width), folder / LABELS_FILE, folder / NETWORK_FILE))
    return specs


def serving(target: Path) -> list[str]:
    """Names of the networks behind a repository's ensembles of images."""
    configs = [config for task in Task if (config := _read_config(target / task.value)) is not None]
    cards = [config.parameters[CARD_PARAMETER].string_value for config in configs]
    return [ModelCard.model_validate_json(card).network for card in cards if card]


def _read_config(folder: Path) -> ModelConfig | None:
    """None for a folder that is not there, is somebody else's or damaged."""
    if not (folder / "passport.json").is_file():
        return None
    try:
        return text_format.Parse((folder / "config.pbtxt").read_text("utf-8"), model_config_pb2.ModelConfig())
    except (OSError, ValueError, text_format.ParseError):
        return None

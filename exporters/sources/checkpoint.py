"""Loads checkpoints of catalogue networks: weights only, strictly, and says what would fit where they do not."""

from __future__ import annotations

import importlib
import itertools
import pickle
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn

from exporters.catalogue.entries import CHECKPOINT_MODELS, ModelSpec, model_spec, network
from exporters.sources import filetypes
from reeltag.errors import InputError

_SHOWN_DIFFERENCES: Final = 3
_AVERAGED: Final = ("ema", "model_ema", "ema_state_dict", "state_dict_ema")
"""Where training programs keep moving averages of the weights, which are what they evaluate."""
_NESTED_UNDER: Final = (*_AVERAGED, "model", "state_dict")
"""Where training programs keep the state dict; YOLOX the averages under `model`."""
_WRAPPER: Final = "module."
"""Prefix of all keys of a network that was trained on several GPUs, or averaged, by PyTorch's wrappers."""
_OF_TRAINING: Final = ("criterion.", "n_averaged")
"""Beginnings of what SwiftNet's loss and PyTorch's averaging keep in the same state dict."""
_SCALAR: Final = np.float64(0).__reduce__()[0]
# YOLOX' trainer stores its best average precision as a NumPy number: these build one and can do nothing else. NumPy 1
# and 2 call the same function differently.
_NUMBERS: Final[list[Any]] = [
    np.dtype,
    type(np.dtype(np.float64)),
    (_SCALAR, "numpy.core.multiarray.scalar"),
    (_SCALAR, "numpy._core.multiarray.scalar"),
]


def load_network(
    name: str,
    path: Path,
    num_classes: int | None = None,
    *,
    activation: str | None = None,
    upsampling: str | None = None,
) -> nn.Module:
    """A catalogue network with a checkpoint's weights.

    Args:
        name: In `entries.CHECKPOINT_MODELS`.
        path: A checkpoint as `torch.save` writes it: a state dict, bare or under `model` or `state_dict`; of one with
            averaged weights beside them (`ema` and the like) these are taken.
        num_classes: As `entries.network`.
        activation: As `entries.network`.
        upsampling: As `entries.network`.

    Returns:
        As `entries.network`, ready for inference.

    Raises:
        UnknownModel: The catalogue has no such network.
        InvalidOption: It takes no checkpoint, or an option is not one of its.
        InputError: The file is no checkpoint, would run code, or does not fit; the text names the first differing keys.
    """
    built = network(name, num_classes, activation=activation, upsampling=upsampling)
    state = read_state_dict(path)
    differences = list(itertools.islice(_differences(built, state), _SHOWN_DIFFERENCES + 1))
    if differences:
        shown = "; ".join(differences[:_SHOWN_DIFFERENCES]) + ("; ..." if len(differences) > _SHOWN_DIFFERENCES else "")
        raise InputError(f"{path} does not fit {name}: {shown}. {_advice(model_spec(name), state)}")
    for key, tensor in state.items():
        if not bool(torch.isfinite(tensor).all()):
            raise InputError(
                f"{path}: {key} has values that are not finite; the training diverged, take an earlier one"
            )
    built.load_state_dict(state)
    return built


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Tensors by key; nothing in the file is executed.

    Raises:
        InputError: The file is missing, no checkpoint, or would run code.
    """
    if not path.is_file():
        raise InputError(f"{path} is no file; give a checkpoint (.pth or .pt)")
    if not path.stat().st_size:
        raise InputError(f"{path} is empty; copy or download it again")
    _check_kind(path)
    try:
        with torch.serialization.safe_globals(_NUMBERS), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of pickles that torch did not write, which are refused below
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise InputError(_refusal(path, str(error))) from error
    except Exception as error:  # zip, pickle and torch raise many types on a damaged file
        raise InputError(f"{path} cannot be read as a checkpoint of PyTorch ({error!r:.200})") from error
    for key in _NESTED_UNDER:
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise InputError(
            f"{path} holds no state dict; save the network with torch.save({{'model': network.state_dict()}}, FILE)"
        )
    state = {key: value for key, value in content.items() if not key.startswith(_OF_TRAINING)}
    wrapped = all(key.startswith(_WRAPPER) for key in state)
    return {key.removeprefix(_WRAPPER): value for key, value in state.items()} if wrapped else state


def _check_kind(path: Path) -> None:
    """Refuse a file that is something else, by name, before torch says what it makes of its bytes."""
    kind = filetypes.kind_of(path)
    if kind == filetypes.ONNX:
        raise InputError(f"{path} is {kind}, not a checkpoint; bring it with --onnx {path} (docs/exporting.md)")
    if kind == filetypes.CUT_OFF:
        raise InputError(f"{path} is {kind}; copy or download it again")
    if kind not in ("", filetypes.CHECKPOINT):
        raise InputError(
            f"{path} cannot be read as a checkpoint of PyTorch: it is {kind}; save the weights where the network is: "
            "torch.save({'model': network.state_dict()}, FILE)"
        )


def _refusal(path: Path, problem: str) -> str:
    found = re.search(r"GLOBAL ([\w.]+)", problem)
    if found is None:
        return (
            f"{path} cannot be read as a checkpoint of PyTorch: it is damaged, or torch.save did not write it. Save "
            "the weights alone, where the network is: torch.save({'model': network.state_dict()}, FILE)"
        )
    return (
        f"{path} is refused: it does not only hold weights, reading it would call {found.group(1)}. Save the weights "
        "alone where you trust the file: torch.save({'model': network.state_dict()}, FILE)"
    )


def _differences(built: nn.Module, state: dict[str, Tensor]) -> Iterator[str]:
    expected = built.state_dict()
    for key, tensor in expected.items():
        if key not in state:
            yield f"{key} is missing"
        elif state[key].shape != tensor.shape:
            yield f"{key} has shape {tuple(state[key].shape)} instead of {tuple(tensor.shape)}"
    for key in state:
        if key not in expected:
            yield f"{key} is not one of its keys"


def _advice(spec: ModelSpec, state: dict[str, Tensor]) -> str:
    """What would fit the state dict."""
    for other in sorted(CHECKPOINT_MODELS.values(), key=lambda candidate: candidate != spec):
        classes = _class_count(other, state)
        if classes is None or not _fits(other, classes, state):
            continue
        if classes == len(other.labels):
            published = f" with its {classes} published classes: leave --labels out, or name as many"
            return f"It fits {other.name}{published if other == spec else ''}."
        return f"It fits {other.name} with {classes} classes: --labels FILE ({classes} names, one a line)."
    return f"It fits no network of the catalogue, which has: {', '.join(CHECKPOINT_MODELS)}."


def _class_count(spec: ModelSpec, state: dict[str, Tensor]) -> int | None:
    weights = state.get(importlib.import_module(f"exporters.networks.{spec.module}").CLASSES_KEY)
    return weights.shape[0] if weights is not None and weights.ndim else None


def _fits(spec: ModelSpec, classes: int, state: dict[str, Tensor]) -> bool:
    if not classes:
        return False
    with torch.device("meta"):
        return next(_differences(network(spec.name, classes), state), None) is None

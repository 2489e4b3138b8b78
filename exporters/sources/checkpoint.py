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
from exporters.sources.state_dicts import StateDict, state_dicts, weights_for
from reeltag.errors import InputError, UnknownModel

_SHOWN_DIFFERENCES: Final = 3
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
        path: A checkpoint as `torch.save` writes it: a state dict, bare or inside others, with or without the prefixes
            of wrappers; of one with averaged weights beside them (`ema` and the like) these are taken.
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
    found = read_state_dicts(path)
    state = weights_for(built.state_dict(), found)
    differences = list(itertools.islice(_differences(built, state), _SHOWN_DIFFERENCES + 1))
    if differences:
        shown = "; ".join(differences[:_SHOWN_DIFFERENCES]) + ("; ..." if len(differences) > _SHOWN_DIFFERENCES else "")
        raise InputError(f"{path} does not fit {name}: {shown}. {_advice(model_spec(name), found)}")
    for key, tensor in state.items():
        if not bool(torch.isfinite(tensor).all()):
            raise InputError(
                f"{path}: {key} has values that are not finite; the training diverged, take an earlier one"
            )
    built.load_state_dict(state)
    return built


def read_state_dicts(path: Path) -> list[StateDict]:
    """What tensors the file holds; nothing in it is executed.

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
    found = state_dicts(content)
    if not found:
        raise InputError(
            f"{path} holds no state dict; save the network with torch.save({{'model': network.state_dict()}}, FILE)"
        )
    return found


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


def check_catalogued(name: str, path: Path) -> None:
    """Refuse a name that is not in the catalogue, and say which network there the checkpoint fits.

    Raises:
        UnknownModel: It is not there.
        InputError: As `read_state_dicts`.
    """
    try:
        model_spec(name)
    except UnknownModel as error:
        found = read_state_dicts(path)
        fits = (spec.name for spec in CHECKPOINT_MODELS.values() if _fitting_classes(spec, found))
        network = next(fits, "")
        option = f"--network {network} fits {path.name}" if network else "--network NAME"
        raise UnknownModel(f"{error}. Where it is a name of your own, say which of these it is: {option}") from error


def _advice(spec: ModelSpec, found: list[StateDict]) -> str:
    """What would fit the state dict."""
    for other in sorted(CHECKPOINT_MODELS.values(), key=lambda candidate: candidate != spec):
        classes = _fitting_classes(other, found)
        if not classes:
            continue
        if classes == len(other.labels):
            published = f" with its {classes} published classes: leave --labels out, or name as many"
            return f"It fits {other.name}{published if other == spec else ''}."
        return f"It fits {other.name} with {classes} classes: --labels FILE ({classes} names, one a line)."
    return f"It fits no network of the catalogue, which has: {', '.join(CHECKPOINT_MODELS)}."


def _fitting_classes(spec: ModelSpec, found: list[StateDict]) -> int:
    """How many classes a network of the catalogue has with these weights; 0 where they do not fit it."""
    key = importlib.import_module(f"exporters.networks.{spec.module}").CLASSES_KEY
    tensors = (tensor for state in found for name, tensor in state.tensors.items() if name.endswith(key))
    classes = next((tensor.shape[0] for tensor in tensors if tensor.ndim), 0)
    if not classes:
        return 0
    with torch.device("meta"):
        built = network(spec.name, classes)
        fits = next(_differences(built, weights_for(built.state_dict(), found)), None) is None
    return classes if fits else 0

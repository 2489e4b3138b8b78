"""Finds a network's weights in what a training program saved: under which keys, and behind which prefix."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from torch import Tensor

_AVERAGED: Final = re.compile(r"(^|[^a-z])(ema|swa|avg|averag)|ema($|[^a-z])")
"""In the names under which training programs keep moving averages of the weights, which are what they evaluate."""
_OF_TRAINING: Final = ("criterion.", "n_averaged")
"""Beginnings of what SwiftNet's loss and PyTorch's averaging keep in the same state dict."""
_DEEPEST: Final = 8


@dataclass(frozen=True)
class StateDict:
    """Tensors that lie together in a file."""

    path: tuple[str, ...]
    """Keys that lead to it, such as `ema`, `module`; empty for the file's own."""
    tensors: Mapping[str, Tensor]


def state_dicts(content: Any) -> list[StateDict]:
    """All that a file holds, the largest first."""
    found = list(_found(content, ()))
    return sorted(found, key=lambda state: -len(state.tensors))


def weights_for(expected: Mapping[str, Tensor], found: list[StateDict]) -> dict[str, Tensor]:
    """The tensors that are a network's by their keys, without the prefix that wrappers put before them.

    A prefix is whatever comes before the network's own keys: `module.` of PyTorch's parallel and averaging wrappers,
    `_orig_mod.` of its compiler, `model.` of Lightning, several of them, or the name of a larger network's part. Of
    several places where the network lies whole, that of averaged weights is taken.

    Args:
        expected: The network's own state dict.
        found: Of the file, at least one.

    Returns:
        All that lie at that place, perhaps more or fewer than `expected`; where nothing fits the largest state dict.
    """
    places = [(state, prefix, count) for state in found for prefix, count in _prefixes(expected, state).items()]
    if not places:
        state, prefix = found[0], ""
    else:
        state, prefix, _ = max(places, key=lambda place: _worth(place, len(expected)))
    chosen = {key.removeprefix(prefix): t for key, t in state.tensors.items() if key.startswith(prefix)}
    return {key: tensor for key, tensor in chosen.items() if not key.startswith(_OF_TRAINING)}


def _found(content: Any, path: tuple[str, ...]) -> Iterator[StateDict]:
    if not isinstance(content, dict) or len(path) > _DEEPEST:
        return
    tensors = {key: value for key, value in content.items() if isinstance(key, str) and isinstance(value, Tensor)}
    if tensors:
        yield StateDict(path, tensors)
    for key, value in content.items():
        yield from _found(value, (*path, str(key)))


def _prefixes(expected: Mapping[str, Tensor], state: StateDict) -> Counter[str]:
    """How many of the network's keys lie behind each prefix."""
    counts: Counter[str] = Counter()
    for key in state.tensors:
        parts = key.split(".")
        for start in range(len(parts)):
            if ".".join(parts[start:]) in expected:
                counts["".join(f"{part}." for part in parts[:start])] += 1
    return counts


def _worth(place: tuple[StateDict, str, int], needed: int) -> tuple[int, bool, int]:
    """The more keys the better; of equals averaged weights, then the shortest way to them."""
    state, prefix, count = place
    way = (*state.path, *prefix.split("."))
    is_averaged = any(_AVERAGED.search(part.lower()) for part in way)
    return min(count, needed), is_averaged, -len(way)

"""The batch sizes that a network is prepared for, and pictures of several requests as one of them.

Stands alone: it is copied into version folders beside `gpu_model.py`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any, Protocol

import torch

_STEPS = (1, 2, 4, 8, 12, 16, 24, 32)
"""Batches are filled up to the next of these: from 8 on by half at most, and each takes a CUDA graph."""


class Engine(Protocol):
    """A network on preallocated tensors, see `onnx_engine` and `plan_engine`."""

    frames: torch.Tensor
    outputs: dict[str, torch.Tensor]
    stream: Any

    def run(self, count: int) -> None:
        """Compute the first `count` pictures of `frames`."""


def batch_sizes(largest: int, smallest: int = 1) -> tuple[int, ...]:
    """Those that a network is prepared for, rising.

    Args:
        largest: Most pictures at once.
        smallest: Fewest that a plan takes.
    """
    return tuple(sorted({smallest, *(step for step in _STEPS if smallest < step < largest), largest}))


class Batches:
    """Computes the pictures of several requests as one batch.

    Args:
        engine: Of the network, prepared for `sizes`.
        sizes: As `batch_sizes` has them.
    """

    def __init__(self, engine: Engine, sizes: Sequence[int]) -> None:
        self._engine, self._sizes = engine, sizes

    def infer(self, parts: Sequence[torch.Tensor]) -> list[dict[str, torch.Tensor]]:
        """Answers to each part, by name of the output.

        They lie in the network's own memory, which the next call overwrites.

        Args:
            parts: uint8 `(n, *input_shape)` each, on any device; together at most the largest batch.

        Raises:
            ValueError: There are more pictures than that.
        """
        count = sum(len(part) for part in parts)
        if count > self._sizes[-1]:
            raise ValueError(f"{count} pictures at once, and {self._sizes[-1]} are possible")
        size = next(size for size in self._sizes if size >= count)
        with torch.inference_mode(), _on(self._engine.stream):
            if len(parts) > 1 and all(part.device == self._engine.frames.device for part in parts):
                torch.cat(list(parts), out=self._engine.frames[:count])
            else:
                self._put(parts)
            self._engine.run(size)
        return self._shares(parts)

    def _put(self, parts: Sequence[torch.Tensor]) -> None:
        start = 0
        for part in parts:
            self._engine.frames[start : start + len(part)].copy_(part)
            start += len(part)

    def _shares(self, parts: Sequence[torch.Tensor]) -> list[dict[str, torch.Tensor]]:
        shares, start = [], 0
        for part in parts:
            end = start + len(part)
            shares.append({name: output[start:end] for name, output in self._engine.outputs.items()})
            start = end
        return shares


def _on(stream: Any) -> Any:
    return contextlib.nullcontext() if stream is None else torch.cuda.stream(stream)

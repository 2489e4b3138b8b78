"""Quantisation-aware fine-tuning of an int8 graph with its own float32 graph as the teacher: labels are not needed.

Weights, biases and all scales of the graph that calibration wrote are trained through their rounding (Esser et al.,
"Learned step size quantization", 2020), so that the outputs of the last weighted nodes come near the teacher's
(Hinton et al., "Distilling the knowledge in a neural network", 2015). What comes out is the same graph with other
numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from onnx import ModelProto, numpy_helper

from exporters.finetuning.options import FineTuning
from exporters.graphs.body import body_of, simplified
from exporters.progress import Progress
from reeltag.contract import FRAMES
from reeltag.errors import InputError, SetupError

MINIMUM_INPUTS: Final = 8
"""Fewer leave too little to train on beside what is held out."""


@dataclass(frozen=True)
class FineTuned:
    """The better graph, and how much better it is."""

    model: ModelProto
    """The calibrated graph itself where no update made it better."""
    loss_before: float
    """Distance from the teacher on held-out pictures: its mean square over the variance of the teacher's answers."""
    loss_after: float
    """At most `loss_before`."""

    @property
    def is_better(self) -> bool:
        """Whether any update was kept."""
        return self.loss_after < self.loss_before


def check_trainable(model: ModelProto, frames: npt.NDArray[np.uint8]) -> None:
    """Refuse a graph that cannot be fine-tuned before anything is calibrated: what would be trained is run in torch.

    Args:
        model: In float32.
        frames: uint8 `(N, *input_shape)`; one is enough.

    Raises:
        InputError: An operator, or its form, is unknown in `torch_operators`; the text names the node.
        SetupError: torch is missing.
    """
    try:
        import torch  # noqa: PLC0415  # it is only needed here

        from exporters.finetuning.distillation import watched_tensors  # noqa: PLC0415
        from exporters.finetuning.torch_graph import TorchGraph  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise _missing(error) from error
    simple = simplified(model)
    graph = TorchGraph(simple, watched_tensors(simple, body_of(simple).heads))
    with torch.no_grad():
        graph.run({FRAMES: torch.from_numpy(frames)})


def fine_tuned(
    teacher: ModelProto,
    quantized: ModelProto,
    heads: Sequence[str],
    frames: npt.NDArray[np.uint8],
    options: FineTuning,
    progress: Progress | None = None,
) -> FineTuned:
    """Train an int8 graph on pictures; the same every time.

    Args:
        teacher: Simplified, in float32; `quantized` was made from it.
        quantized: As `int8.quantized` writes it; not changed.
        heads: Names of the last weighted nodes.
        frames: uint8 `(N, *input_shape)`; an eighth of them, spread evenly, is held out to choose the best update.
        options: How to train.
        progress: Told after every step; what it raises ends the training.

    Raises:
        InputError: There are too few pictures, or an operator is unknown in `torch_operators`.
        SetupError: torch is missing.
    """
    if len(frames) < MINIMUM_INPUTS:
        raise InputError(f"fine-tuning needs at least {MINIMUM_INPUTS} inputs of pictures; there are {len(frames)}")
    try:
        from exporters.finetuning.distillation import Distillation  # noqa: PLC0415  # torch is only needed here
    except ModuleNotFoundError as error:
        raise _missing(error) from error
    distillation = Distillation(teacher, quantized, heads)
    before, after, values = distillation.train(frames, options, progress)
    return FineTuned(_with(quantized, values), before, after)


def _missing(error: ModuleNotFoundError) -> SetupError:
    return SetupError(f"fine-tuning needs {error.name}; run: pip install 'reeltag[export]'")


def _with(model: ModelProto, values: dict[str, npt.NDArray[np.float32] | npt.NDArray[np.int8]]) -> ModelProto:
    """A copy with these initializers."""
    copy = ModelProto()
    copy.CopyFrom(model)
    for tensor in copy.graph.initializer:
        if tensor.name in values:
            tensor.CopyFrom(numpy_helper.from_array(values[tensor.name], tensor.name))
    return copy

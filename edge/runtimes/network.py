"""A network that can be run, whatever runs it."""

from __future__ import annotations

from typing import Any, Callable, Protocol, Sequence

import numpy as np
import numpy.typing as npt
from reeltag.errors import InvalidOption, SetupError

from edge.runtimes.artefacts import NetworkArtefact
from edge.runtimes.nv12 import Nv12Fitter

RUNTIMES = ("tensorrt", "openvino", "onnxruntime")


class Network(Protocol):
    """A detector in memory; one thread uses it."""

    runtime: str
    """For people: runtime, version, device and precision."""
    frames: npt.NDArray[np.uint8]
    """uint8 `[B, H, W, 3]`, RGB: the input, to be filled in place; B is the largest batch."""

    nv12: Nv12Fitter | None
    """Makes frames of a camera's NV12 where the network computes; none where that is to be done before, as on a CPU."""

    def run(self, count: int) -> Sequence[npt.NDArray[Any]]:
        """Compute the first `count` frames: those that `nv12` made, and of the others what is in `frames`.

        Returns:
            The outputs, in the order of the artefact's `outputs`, each `[count, ...]`; valid until the next run.
        """

    def close(self) -> None:
        """Free it."""


def open_network(artefact: NetworkArtefact, *, runtime: str | None = None, largest_batch: int = 1) -> Network:
    """Load a network.

    Args:
        artefact: The network.
        runtime: Of `RUNTIMES`; without one that it was made for, and where that is missing another that takes it.
        largest_batch: Pictures at once, at most.

    Raises:
        InvalidOption: There is no such runtime, or it does not run such a file.
        SetupError: The runtime is not installed, or cannot load the network.
    """
    if runtime is not None and runtime not in RUNTIMES:
        raise InvalidOption(f"{runtime!r} runs no networks; there are: {', '.join(RUNTIMES)}")
    is_plan = artefact.file.suffix == ".plan"
    if runtime is not None and is_plan != (runtime == "tensorrt"):
        takes = "a TensorRT plan" if is_plan else "an ONNX graph"
        way_out = "leave --runtime out" if is_plan else f"build its plan: reeltag export {artefact.name} --profile edge"
        raise InvalidOption(f"{artefact.name} is {takes}, which {runtime} does not run; {way_out}")
    if is_plan:
        return _openers()["tensorrt"](artefact, largest_batch)
    wanted = [runtime] if runtime else [artefact.runtime, *(one for one in RUNTIMES[1:] if one != artefact.runtime)]
    problems: list[ImportError] = []
    for one in wanted:
        network = _opened(one, artefact, largest_batch, problems)
        if network is not None:
            return network
    missing = "; ".join(map(str, problems))
    raise SetupError(f"nothing here runs {artefact.name} ({missing}); run: pip install {' or '.join(wanted)}")


def _opened(runtime: str, artefact: NetworkArtefact, batch: int, problems: list[ImportError]) -> Network | None:
    try:
        return _openers()[runtime](artefact, batch)
    except ImportError as error:
        problems.append(error)
        return None


def _openers() -> dict[str, Callable[[NetworkArtefact, int], Network]]:
    # Imported here: each of them imports its runtime.
    from edge.runtimes.onnxruntime_network import OnnxRuntimeNetwork  # noqa: PLC0415
    from edge.runtimes.openvino_network import OpenVinoNetwork  # noqa: PLC0415
    from edge.runtimes.tensorrt_network import TensorRtNetwork  # noqa: PLC0415

    return {"tensorrt": TensorRtNetwork, "openvino": OpenVinoNetwork, "onnxruntime": OnnxRuntimeNetwork}

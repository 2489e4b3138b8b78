"""A network in OpenVINO, on the CPU."""

from __future__ import annotations

import importlib
from typing import Any, Sequence

import numpy as np
import numpy.typing as npt
from reeltag.errors import SetupError

from edge.runtimes.artefacts import FRAMES, NetworkArtefact


class OpenVinoNetwork:
    """A `Network`: one request for each batch size, all of them over the same input memory.

    Args:
        artefact: The network.
        largest_batch: Pictures at once, at most.

    Raises:
        ImportError: OpenVINO is not installed.
        SetupError: It cannot load the network.
    """

    nv12 = None

    def __init__(self, artefact: NetworkArtefact, largest_batch: int = 1) -> None:
        openvino: Any = importlib.import_module("openvino")
        core = openvino.Core()
        # A batch is computed by all threads together: here one answer soon is worth more than many.
        properties = {"PERFORMANCE_HINT": "LATENCY", **_precision(core, artefact.precision)}
        self.frames: npt.NDArray[np.uint8] = np.zeros((largest_batch, artefact.height, artefact.width, 3), np.uint8)
        self._requests: list[Any] = []
        try:
            for count in range(1, largest_batch + 1):
                model = core.read_model(str(artefact.file))
                # A fixed shape: OpenVINO then plans its memory once.
                model.reshape({FRAMES: [count, *self.frames.shape[1:]]})
                request = core.compile_model(model, "CPU", properties).create_infer_request()
                request.set_tensor(FRAMES, openvino.Tensor(self.frames[:count], shared_memory=True))
                self._requests.append(request)
        except RuntimeError as error:
            raise SetupError(f"OpenVINO cannot load {artefact.file}: {error}") from error
        self._names = artefact.outputs
        precision = properties.get("INFERENCE_PRECISION_HINT", "f32")
        self.runtime = f"OpenVINO {openvino.__version__.split('-')[0]} on the CPU, {precision}"

    def run(self, count: int) -> Sequence[npt.NDArray[Any]]:
        """As `Network.run`."""
        request = self._requests[count - 1]
        # Not `infer`, which copies what it answers.
        request.start_async()
        request.wait()
        return [request.get_tensor(name).data for name in self._names]

    def close(self) -> None:
        """As `Network.close`."""
        self._requests.clear()


def _precision(core: Any, precision: str) -> dict[str, str]:
    """bf16 is computed where the processor has it; a graph in another precision has it in itself."""
    has = "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return {"INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" and has else "f32"}

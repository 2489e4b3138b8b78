"""Runtimes on this machine behind one protocol: pictures in place, computed, answers taken."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt
import onnxruntime
import torch
from onnx import ModelProto

from exporters.backends.batches import Engine
from exporters.backends.onnx_engine import OnnxEngine
from exporters.backends.plan_engine import PlanEngine
from exporters.bench.subject import FromFrames
from exporters.machine import cores
from exporters.plans import tensorrt_api
from exporters.plans.build import Plan
from reeltag.contract import FRAMES
from reeltag.errors import SetupError

if TYPE_CHECKING:
    import openvino

Answers = list[npt.NDArray[Any]]


class Runner(Protocol):
    """A network in a runtime, for a batch of fixed size."""

    frames: npt.NDArray[np.uint8]
    """uint8 `(N, *input_shape)`: the host's memory that the runtime reads or copies from; pictures are put here."""

    def upload(self) -> None:
        """Copy `frames` to where the runtime computes; nothing on a CPU, which computes on the host's memory."""

    def run(self) -> None:
        """Compute what was uploaded, and return when it is done."""

    def answers(self) -> Answers:
        """Copies of the answers in the host's memory, in the order of the graph's outputs."""


class TorchRunner:
    """PyTorch, eager or compiled.

    Args:
        network: In the precision that it is to run in.
        device: `cpu` or `cuda`.
        compiled: Through `torch.compile`.
    """

    def __init__(self, network: FromFrames, *, device: str = "cpu", compiled: bool = False) -> None:
        torch.set_num_threads(cores())
        self._on_gpu = device != "cpu"
        host = torch.zeros((1, *network.spec.input_shape), dtype=torch.uint8, pin_memory=self._on_gpu)
        self.frames: npt.NDArray[np.uint8] = host.numpy()
        self._host, self._pixels = host, host.to(device)
        module = network.to(device).eval()
        self._call: Any = torch.compile(module, mode="max-autotune") if compiled else module
        self._outputs: tuple[torch.Tensor, ...] = ()

    def upload(self) -> None:
        """As `Runner.upload`."""
        if self._on_gpu:
            self._pixels.copy_(self._host)

    def run(self) -> None:
        """As `Runner.run`."""
        with torch.inference_mode():
            self._outputs = self._call(self._pixels)
        if self._on_gpu:
            torch.cuda.synchronize()

    def answers(self) -> Answers:
        """As `Runner.answers`."""
        return [output.cpu().numpy().copy() for output in self._outputs]


class OnnxRuntimeRunner:
    """ONNX Runtime on the CPU as it comes: the reference of networks that were published as ONNX."""

    def __init__(self, graph: ModelProto, input_shape: tuple[int, ...]) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = cores()
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(
            graph.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        self.frames: npt.NDArray[np.uint8] = np.zeros((1, *input_shape), np.uint8)
        self._outputs: Answers = []

    def upload(self) -> None:
        """As `Runner.upload`."""

    def run(self) -> None:
        """As `Runner.run`."""
        self._outputs = self._session.run(None, {FRAMES: self.frames})

    def answers(self) -> Answers:
        """As `Runner.answers`."""
        return [output.copy() for output in self._outputs]


class EngineRunner:
    """What the server runs a network in on a GPU, for one picture: a plan, or a graph in ONNX Runtime.

    Args:
        engine: Prepared for batches of one.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        on_gpu = engine.frames.device.type != "cpu"
        self._host = torch.zeros((1, *engine.frames.shape[1:]), dtype=torch.uint8, pin_memory=on_gpu)
        self.frames: npt.NDArray[np.uint8] = self._host.numpy()

    def upload(self) -> None:
        """As `Runner.upload`."""
        self._engine.frames[:1].copy_(self._host)

    def run(self) -> None:
        """As `Runner.run`."""
        self._engine.run(1)

    def answers(self) -> Answers:
        """As `Runner.answers`."""
        return [output[:1].cpu().numpy().copy() for output in self._engine.outputs.values()]


def plan_runner(plan: Plan, input_shape: tuple[int, ...]) -> EngineRunner:
    """A plan that was built here, run as the server runs it.

    Raises:
        SetupError: The plan cannot be loaded here.
    """
    try:
        module = tensorrt_api.load(plan.module)
        return EngineRunner(PlanEngine(module, plan.data, FRAMES, input_shape, (1,), torch.device("cuda", 0)))
    except RuntimeError as error:
        raise SetupError(str(error)) from error


def onnx_runner(graph: ModelProto, input_shape: tuple[int, ...], device: str) -> EngineRunner:
    """A graph in ONNX Runtime, run as the server runs it on a GPU.

    Args:
        graph: From `FRAMES`.
        input_shape: Of a picture.
        device: `cuda:0` or `cpu`.

    Raises:
        SetupError: ONNX Runtime cannot run it there.
    """
    try:
        content = graph.SerializeToString()
        return EngineRunner(OnnxEngine(content, FRAMES, input_shape, (1,), torch.device(device), threads=cores()))
    except Exception as error:  # its errors are of many classes
        raise SetupError(f"ONNX Runtime cannot run it on {device}: {error}") from error


class OpenVinoRunner:
    """One inference request of OpenVINO on the CPU; made by `openvino_runners`."""

    def __init__(self, request: openvino.InferRequest) -> None:
        self._request = request
        self.frames: npt.NDArray[np.uint8] = request.get_input_tensor().data

    def upload(self) -> None:
        """As `Runner.upload`."""

    def run(self) -> None:
        """As `Runner.run`."""
        self._request.infer(share_outputs=True)

    def answers(self) -> Answers:
        """As `Runner.answers`."""
        return [np.array(tensor.data) for tensor in self._request.output_tensors]


def openvino_runners(
    graph: ModelProto, input_shape: tuple[int, ...], *, precision: str = "f32", streams: int = 1
) -> list[OpenVinoRunner]:
    """A graph compiled by OpenVINO for the CPU.

    Args:
        graph: From `FRAMES`.
        input_shape: Of a picture.
        precision: OpenVINO's name of the one that float parts are computed in: `f32` or `bf16`.
        streams: Pictures computed at once, on a share of the cores each.

    Returns:
        A runner for each stream; they may run at the same time.

    Raises:
        SetupError: OpenVINO is missing.
    """
    core = _core()
    model = core.read_model(graph.SerializeToString())
    model.reshape([1, *input_shape])
    properties = {
        "INFERENCE_PRECISION_HINT": precision,
        "INFERENCE_NUM_THREADS": cores(),
        "NUM_STREAMS": streams,
        "PERFORMANCE_HINT": "LATENCY" if streams == 1 else "THROUGHPUT",
    }
    compiled = core.compile_model(model, "CPU", properties)
    return [OpenVinoRunner(compiled.create_infer_request()) for _ in range(streams)]


def _core() -> openvino.Core:
    try:
        import openvino  # noqa: PLC0415  # it comes with serving, torch and onnx with exporting
    except ModuleNotFoundError as error:
        raise SetupError("measuring needs openvino; run: pip install 'reeltag[serve]'") from error
    return openvino.Core()

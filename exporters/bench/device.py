"""Where a device runs networks for one picture at a time: its GPU where it has one and something runs there."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from typing import Literal

import onnxruntime
import torch
from onnx import ModelProto

from exporters.bench.runners import Runner, onnx_runner, openvino_runners, plan_runner
from exporters.machine import processor
from exporters.plans.build import BatchProfile, PlanOptions, build_plan
from exporters.precision.convert import Precision
from exporters.publishing.artefact import cpu_has_bf16
from reeltag import gpu
from reeltag.jetson import this_device as this_jetson
from reeltag.places import cache_folder

_NAMES = {"openvino": "OpenVINO", "onnxruntime": "ONNX Runtime", "tensorrt": "TensorRT"}


@dataclass(frozen=True)
class Device:
    """What runs networks here."""

    runtime: Literal["openvino", "onnxruntime", "tensorrt"]
    torch_device: Literal["cpu", "cuda"]
    remark: str = ""
    """Why it is not the GPU, or not TensorRT; empty where there is nothing better."""

    @property
    def name(self) -> str:
        """Of the runtime, for people."""
        return _NAMES[self.runtime]

    @property
    def place(self) -> str:
        """`GPU` or `CPU`."""
        return "CPU" if self.torch_device == "cpu" else "GPU"

    @property
    def half(self) -> Precision | None:
        """The 16 bits that it computes in; none where it has none."""
        if self.torch_device == "cuda":
            return "fp16"
        return "bf16" if cpu_has_bf16() else None

    @property
    def computes_int8(self) -> bool:
        """Whether int8 is computed in int8: ONNX Runtime's CUDA provider makes floats of it first."""
        return not (self.runtime == "onnxruntime" and self.torch_device == "cuda")

    def runner(self, graph: ModelProto, input_shape: tuple[int, ...], precision: Precision) -> Runner:
        """A graph made ready for one picture.

        Args:
            graph: From `FRAMES`, in its precision; but for bf16, which OpenVINO makes of float32.
            input_shape: Of a picture.
            precision: Of it.

        Raises:
            SetupError: It cannot be run here.
            InputError: TensorRT cannot take the graph.
        """
        if self.runtime == "tensorrt":
            return plan_runner(build_plan(graph.SerializeToString(), plan_options(input_shape)), input_shape)
        if self.runtime == "onnxruntime":
            return onnx_runner(graph, input_shape, "cuda:0" if self.torch_device == "cuda" else "cpu")
        return openvino_runners(graph, input_shape, precision="bf16" if precision == "bf16" else "f32")[0]

    def __str__(self) -> str:
        card = torch.cuda.get_device_name(0) if self.torch_device == "cuda" else ""
        return f"{card}, {processor()}" if card else processor()


def this_device() -> Device:
    """The fastest that runs here: TensorRT, ONNX Runtime's CUDA provider, OpenVINO."""
    if not torch.cuda.is_available():
        return Device("openvino", "cpu", "on a GPU: nothing, PyTorch finds none here")
    if this_jetson() is not None and importlib.util.find_spec("tensorrt") is not None:
        return Device("tensorrt", "cuda")
    problems = {one.name: one.problem for one in gpu.runtimes(gpu.look())}
    if not problems["tensorrt"]:
        return Device("tensorrt", "cuda")
    without = f"not in TensorRT: {problems['tensorrt']}"
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        return Device("onnxruntime", "cuda", without)
    return Device("openvino", "cpu", f"{without}; nor in ONNX Runtime: {problems['onnxruntime']}")


def plan_options(input_shape: tuple[int, ...] = ()) -> PlanOptions:
    """As `reeltag export --profile edge` builds plans, with its timing cache."""
    cache_folder().mkdir(parents=True, exist_ok=True)
    return PlanOptions(
        batch=BatchProfile(1, 1, 1),
        input_shape=input_shape,
        workspace_bytes=2**30,
        timing_cache=cache_folder() / "edge-timings",
    )

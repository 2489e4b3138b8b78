"""A plan with fixed shapes and addresses, replayed as a CUDA graph; and the plan of `nv12.onnx`, built here."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any, Callable, Mapping

from reeltag.errors import SetupError

from edge.runtimes.cuda import Cuda
from edge.runtimes.memory import Tensor
from edge.runtimes.nv12 import GRAPH

_SIZES = {"rows": (2, 1080, 4320), "columns": (4, 1920, 7680)}
"""Of cameras' pictures: the least, what the plan is tuned for, and the most."""
_TYPING_FLAGS = ("EXPLICIT_BATCH", "STRONGLY_TYPED")
"""The first is needed up to TensorRT 9, and unknown from 11 on; the second came with 9."""


class PlanRun:
    """A run of a plan over the same memory again and again, on the stream of its place.

    It has an execution context of its own: a recorded graph is of the shapes that the context had.

    Args:
        cuda: Where it runs.
        engine: The plan.
        inputs: By name.
        outputs: By name; of their tensors only the addresses are asked for.
        replays: Whether it is recorded.

    Raises:
        SetupError: It cannot be run.
    """

    def __init__(
        self,
        cuda: Cuda,
        engine: Any,
        inputs: Mapping[str, Tensor],
        outputs: Mapping[str, Tensor],
        *,
        replays: bool = True,
    ) -> None:
        self._cuda, self._context = cuda, engine.create_execution_context()
        for name, tensor in inputs.items():
            if not self._context.set_input_shape(name, tensor.shape):
                raise SetupError(f"the plan does not take {name} of {'x'.join(map(str, tensor.shape))}")
        for name, tensor in (*inputs.items(), *outputs.items()):
            self._context.set_tensor_address(name, tensor.address)
        self._enqueue()  # what TensorRT takes at the first run cannot be recorded
        cuda.wait()
        self.problem = ""
        """Why it is not replayed as a CUDA graph."""
        self._begin: Callable[[], None] = self._enqueue
        if replays:
            try:
                self._begin = cuda.record(self._enqueue)
            except SetupError as error:
                self.problem = str(error)

    def __call__(self) -> None:
        """Begin to compute."""
        self._begin()

    def _enqueue(self) -> None:
        if not self._context.execute_async_v3(self._cuda.stream.value):
            raise SetupError("TensorRT could not run its plan")


def nv12_engine(trt: Any, runtime: Any, rows: int, columns: int, folder: Path) -> Any:
    """The plan of `nv12.onnx` for an input of this size: kept in `folder`, and built where that has none that runs.

    Raises:
        SetupError: TensorRT cannot build it.
    """
    file = folder / f"nv12-{rows}x{columns}-{trt.__version__}.plan"
    if file.is_file():
        engine = runtime.deserialize_cuda_engine(file.read_bytes())
        if engine is not None:
            return engine
    data = build_nv12(trt, rows, columns)
    with contextlib.suppress(OSError):  # a read-only disk: it is built at each start
        folder.mkdir(parents=True, exist_ok=True)
        building = file.with_suffix(".building")
        building.write_bytes(data)
        building.replace(file)
    engine = runtime.deserialize_cuda_engine(data)
    if engine is None:
        raise SetupError(f"TensorRT {trt.__version__} cannot load what it built of {GRAPH.name}")
    return engine


def build_nv12(trt: Any, rows: int, columns: int, configure: Callable[[Any], None] = lambda _: None) -> bytes:
    """Build it, for cameras of 2x4 to 4320x7680 pixels.

    Args:
        trt: The module `tensorrt`, 8.5 to 11.
        rows: Of the network's input.
        columns: Of it.
        configure: Told the builder's configuration before it builds.

    Raises:
        SetupError: TensorRT cannot.
    """
    logger = trt.Logger(trt.Logger.ERROR)
    builder = trt.Builder(logger)
    kinds = trt.NetworkDefinitionCreationFlag
    flags = [name for name in _TYPING_FLAGS if hasattr(kinds, name)]
    network = builder.create_network(sum(1 << int(getattr(kinds, name)) for name in flags))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(GRAPH.read_bytes()):
        said = "; ".join(parser.get_error(i).desc() for i in range(parser.num_errors))
        raise SetupError(f"TensorRT {trt.__version__} cannot take {GRAPH.name}: {said}")
    config = builder.create_builder_config()
    if "STRONGLY_TYPED" not in flags and hasattr(trt.BuilderFlag, "FP16"):
        config.set_flag(trt.BuilderFlag.FP16)
    profile = builder.create_optimization_profile()
    for name, shapes in _profile(rows, columns).items():
        profile.set_shape(name, *shapes)
    config.add_optimization_profile(profile)
    configure(config)
    data = builder.build_serialized_network(network, config)
    if data is None:
        raise SetupError(f"TensorRT {trt.__version__} could not build {GRAPH.name}")
    return bytes(data)


def _profile(rows: int, columns: int) -> dict[str, list[tuple[int, ...]]]:
    """Least, usual and largest shapes of the inputs that depend on the camera; the others are fixed."""
    shapes: dict[str, list[tuple[int, ...]]] = {"COLOURS": [(3, 3)] * 3, "GROUND": [(rows, columns, 3)] * 3}
    for high, wide in zip(_SIZES["rows"], _SIZES["columns"]):
        for name, shape in {
            "LUMA": (high, wide),
            "CHROMA": (high // 2, wide // 2, 2),
            "LUMA_ROWS": (rows, high),
            "LUMA_COLUMNS": (wide, columns),
            "CHROMA_ROWS": (rows, high // 2),
            "CHROMA_COLUMNS": (wide // 2, columns),
        }.items():
            shapes.setdefault(name, []).append(shape)
    return shapes

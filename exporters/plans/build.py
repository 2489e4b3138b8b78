"""ONNX to a TensorRT plan: one builder over `tensorrt` 8.5 to 11 and `tensorrt_rtx`.

The precision is in the graph (`precision.py`), so that the network is strongly typed where TensorRT knows that; where
it does not (8.5, JetPack 5), builder flags allow what is found in the parsed graph.
"""

from __future__ import annotations

import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from exporters.files import write_atomically
from exporters.plans import tensorrt_api
from exporters.plans.tensorrt_api import Builder, Config, ErrorLog, Network, ParserError, TensorRT
from exporters.progress import Progress, cancellable
from reeltag.contract import MAX_BATCH_SIZE
from reeltag.errors import InputError, InvalidOption, SetupError

_TYPING_FLAGS: Final = ("EXPLICIT_BATCH", "STRONGLY_TYPED")
"""The first is needed up to 9 and unknown from 11 on; the second came with 9."""


@dataclass(frozen=True)
class BatchProfile:
    """The batch sizes that a plan takes, and the one that it is tuned for."""

    smallest: int = 1
    usual: int = 8
    largest: int = MAX_BATCH_SIZE

    def __post_init__(self) -> None:
        if not 1 <= self.smallest <= self.usual <= self.largest:
            raise InvalidOption(
                f"batch sizes {self.smallest}, {self.usual}, {self.largest} are not 1 <= smallest <= usual <= largest"
            )

    @property
    def sizes(self) -> tuple[int, int, int]:
        """In TensorRT's order: smallest, usual, largest."""
        return self.smallest, self.usual, self.largest

    def at_most(self, largest: int) -> BatchProfile:
        """Without the batches that a network is never given."""
        return BatchProfile(*(min(size, largest) for size in self.sizes))


@dataclass(frozen=True)
class PlanOptions:
    """How a plan is built."""

    batch: BatchProfile = BatchProfile()
    input_shape: tuple[int, ...] = ()
    """Of one item of the batch: lengths that the graph leaves free, such as that of a window of frames, are these."""
    workspace_bytes: int | None = None
    """Most scratch memory that a layer may use on the GPU; all of it without."""
    timing_cache: Path | None = None
    """Kernel timings are read from and written to this file: a second build is many times faster."""
    dla_core: int | None = None
    """Deep Learning Accelerator of a Jetson that runs what it can; the GPU runs the rest."""
    targets: tuple[str, ...] = ()
    """Compute capabilities such as `SM89`, of GPUs that need not be here; only `tensorrt_rtx` builds for others."""


@dataclass(frozen=True)
class Plan:
    """A serialised engine and what built it."""

    data: bytes
    module: str
    """`tensorrt` or `tensorrt_rtx`."""
    version: str
    """Of the module; the plan runs in this one only."""
    strongly_typed: bool
    build_seconds: float

    def write(self, path: Path) -> None:
        """Write the plan, whole or not at all.

        Raises:
            OutputError: The file cannot be written; an older one is still there.
        """
        write_atomically(path, self.data)


def build_plan(
    graph: bytes, options: PlanOptions | None = None, *, module: str = "tensorrt", progress: Progress | None = None
) -> Plan:
    """Build a plan; Ctrl-C cancels it and leaves nothing behind.

    Args:
        graph: A serialised ONNX model whose inputs have a free first axis and no other free one.
        options: Without it batches of 1 to 32, for the GPU that is here.
        module: `tensorrt` or `tensorrt_rtx`.
        progress: Told of each step where the version has progress monitors (8.6 and later).

    Raises:
        SetupError: The module or a GPU is missing, or the builder failed.
        InputError: TensorRT cannot take the graph; the text names node and operator.
        InvalidOption: An option outside its range, or that this module does not have.
        OutputError: The timing cache cannot be written.
        KeyboardInterrupt: Ctrl-C was pressed.
    """
    options = options or PlanOptions()
    trt = tensorrt_api.load(module)
    log = ErrorLog(trt)
    builder = _builder(trt, log.logger)
    network = builder.create_network(_network_flags(trt))
    _parse(trt, network, log.logger, graph)
    config = builder.create_builder_config()
    _configure(trt, builder, network, config, options)
    began = time.monotonic()
    with cancellable(trt, config, progress):
        built = builder.build_serialized_network(network, config)
    if built is None:
        raise SetupError(f"{_name(trt)} could not build the plan: {log.text or 'it gave no reason'}")
    _save_timings(config, options)
    return Plan(bytes(built), module, trt.__version__, _strongly_typed(trt), time.monotonic() - began)


def _name(trt: TensorRT) -> str:
    return f"{trt.__name__} {trt.__version__}"


def _builder(trt: TensorRT, logger: Any) -> Builder:
    try:
        return trt.Builder(logger)
    except (TypeError, RuntimeError) as error:  # "factory function returned nullptr"
        raise SetupError(
            f"{_name(trt)} found no usable NVIDIA GPU ({error}); build where the plan will run, or name targets "
            "and use tensorrt_rtx"
        ) from error


def _strongly_typed(trt: TensorRT) -> bool:
    # TensorRT for RTX and 11 know nothing else, whether they still have the flag or not.
    return hasattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED") or not hasattr(trt.BuilderFlag, "FP16")


def _network_flags(trt: TensorRT) -> int:
    kinds = trt.NetworkDefinitionCreationFlag
    return sum(1 << int(getattr(kinds, name)) for name in _TYPING_FLAGS if hasattr(kinds, name))


def _parse(trt: TensorRT, network: Network, logger: Any, graph: bytes) -> None:
    parser = trt.OnnxParser(network, logger)
    if parser.parse(graph):
        return
    errors = [_describe(parser.get_error(i), graph) for i in range(parser.num_errors)]
    raise InputError(f"{_name(trt)} cannot take the graph: {'; '.join(errors) or 'it gave no reason'}")


def _describe(error: ParserError, graph: bytes) -> str:
    """Node, operator and reason."""
    reason = " ".join(error.desc().split())
    code = error.code().name
    if hasattr(error, "node_name"):
        name, operator = str(error.node_name()), str(error.node_operator())  # type: ignore[attr-defined]  # since 8.6
    else:
        name, operator = _node_at(graph, error.node())
    where = f"node {name!r} ({operator}): " if operator else ""
    return f"{where}{code}" + (f", {reason}" if reason not in ("", "false") else "")


def _node_at(graph: bytes, index: int) -> tuple[str, str]:
    try:
        import onnx  # noqa: PLC0415  # JetPack comes without it
    except ModuleNotFoundError:
        return f"number {index}", "install onnx to see its operator"
    nodes = onnx.load_from_string(graph).graph.node
    return (nodes[index].name, nodes[index].op_type) if 0 <= index < len(nodes) else ("", "")


def _configure(trt: TensorRT, builder: Builder, network: Network, config: Config, options: PlanOptions) -> None:
    profile = builder.create_optimization_profile()
    for tensor in (network.get_input(i) for i in range(network.num_inputs)):
        batch, *rest = tuple(tensor.shape)
        if len(rest) == len(options.input_shape):
            rest = [given if size == -1 else size for size, given in zip(rest, options.input_shape, strict=True)]
        if batch != -1 or -1 in rest:
            raise InputError(
                f"input {tensor.name!r} has shape {tuple(tensor.shape)} (-1 is free); a plan needs a free first axis, "
                "the batch, and no other"
            )
        profile.set_shape(tensor.name, *((size, *rest) for size in options.batch.sizes))
    config.add_optimization_profile(profile)
    if not _strongly_typed(trt):
        _allow_found_precisions(trt, network, config)
    if options.workspace_bytes is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options.workspace_bytes)
    if options.dla_core is not None:
        _use_dla(trt, builder, config, options.dla_core)
    if options.targets:
        _set_targets(trt, config, options.targets)
    if options.timing_cache is not None:
        _load_timings(trt, config, options.timing_cache)


def _allow_found_precisions(trt: TensorRT, network: Network, config: Config) -> None:
    """Before strong typing a network ran in float32 unless flags allowed less; the graph's casts then decide where."""
    found = [network.get_layer(i) for i in range(network.num_layers)]
    outputs = [layer.get_output(i) for layer in found for i in range(layer.num_outputs)]
    if any(output is not None and output.dtype == trt.DataType.HALF for output in outputs):
        config.set_flag(trt.BuilderFlag.FP16)
    if any(layer.type == trt.LayerType.QUANTIZE for layer in found):
        config.set_flag(trt.BuilderFlag.INT8)


def _use_dla(trt: TensorRT, builder: Builder, config: Config, core: int) -> None:
    if not 0 <= core < builder.num_DLA_cores:
        raise InvalidOption(f"there is no DLA core {core}: this machine has {builder.num_DLA_cores}")
    config.default_device_type = trt.DeviceType.DLA
    config.DLA_core = core
    config.set_flag(trt.BuilderFlag.GPU_FALLBACK)


def _set_targets(trt: TensorRT, config: Any, targets: tuple[str, ...]) -> None:
    known = getattr(trt, "ComputeCapability", None)
    if known is None:
        raise InvalidOption(f"{_name(trt)} builds for the GPU that is here only; tensorrt_rtx builds for others")
    names = sorted(name for name in known.__members__ if name.startswith("SM"))
    if unknown := sorted(set(targets) - set(names)):
        raise InvalidOption(f"{_name(trt)} cannot build for {', '.join(unknown)}; it can for {', '.join(names)}")
    config.num_compute_capabilities = len(targets)
    for i, target in enumerate(targets):
        config.set_compute_capability(known.__members__[target], i)


def _load_timings(trt: TensorRT, config: Config, path: Path) -> None:
    if trt.__name__ == "tensorrt_rtx":
        raise InvalidOption("tensorrt_rtx has no timing cache: it chooses kernels where the plan runs")
    cache = config.create_timing_cache(path.read_bytes() if path.is_file() else b"")
    if cache is None or not config.set_timing_cache(cache, False):
        warnings.warn(f"the timing cache {path} is of another TensorRT or GPU; a new one is made", stacklevel=2)
        empty = config.create_timing_cache(b"")
        if empty is not None:
            config.set_timing_cache(empty, False)


def _save_timings(config: Config, options: PlanOptions) -> None:
    if options.timing_cache is None:
        return
    cache = config.get_timing_cache()
    if cache is not None:
        write_atomically(options.timing_cache, bytes(cache.serialize()))

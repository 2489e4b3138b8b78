"""The parts of NVIDIA's Python API that reeltag uses, as types that `tensorrt` and `tensorrt_rtx` both have.

`tensorrt-stubs` is not used: no version of it (10.8 to 10.13) is valid Python, so that mypy stops at its first line in
error; each requires a `tensorrt` whose libraries PyPI does not have; and it describes one version of one module. What
only some versions have is not listed as a member of its class here: it is asked for with `hasattr`, where the version
that it came with or went away with is said.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any, Final, Literal, Protocol, cast

from reeltag.errors import InvalidOption, SetupError

ModuleName = Literal["tensorrt", "tensorrt_rtx"]
MODULES: Final[tuple[ModuleName, ...]] = ("tensorrt", "tensorrt_rtx")
"""TensorRT (8.5 to 11), whose plans Triton runs, and TensorRT for RTX, which also builds for GPUs that are not here."""
RTX_TARGETS: Final = ("SM80", "SM86", "SM89", "SM120")
"""What TensorRT for RTX builds for where it is told nothing, with or without a GPU (NVIDIA's documentation of TensorRT
for RTX, "CPU-Only AOT and TensorRT-RTX Engines")."""
_INSTALL: Final = {"tensorrt": "pip install 'reeltag[tensorrt]'", "tensorrt_rtx": "pip install tensorrt-rtx"}


class Tensor(Protocol):
    """`ITensor`."""

    name: str
    shape: Sequence[int]
    dtype: Any


class Layer(Protocol):
    """`ILayer`."""

    type: Any
    num_outputs: int

    def get_output(self, index: int) -> Tensor | None: ...  # noqa: D102


class Network(Protocol):
    """`INetworkDefinition`."""

    num_inputs: int
    num_layers: int

    def get_input(self, index: int) -> Tensor: ...  # noqa: D102
    def get_layer(self, index: int) -> Layer: ...  # noqa: D102


class Profile(Protocol):
    """`IOptimizationProfile`."""

    def set_shape(self, input: str, min: Sequence[int], opt: Sequence[int], max: Sequence[int]) -> Any: ...  # noqa: A002, D102


class TimingCache(Protocol):
    """`ITimingCache`."""

    def serialize(self) -> Any: ...  # noqa: D102


class Config(Protocol):
    """`IBuilderConfig`."""

    DLA_core: int
    default_device_type: Any

    def add_optimization_profile(self, profile: Profile) -> int: ...  # noqa: D102
    def create_timing_cache(self, serialized_timing_cache: bytes) -> TimingCache | None: ...  # noqa: D102
    def get_timing_cache(self) -> TimingCache | None: ...  # noqa: D102
    def set_flag(self, flag: Any) -> None: ...  # noqa: D102
    def set_memory_pool_limit(self, pool: Any, pool_size: int) -> None: ...  # noqa: D102
    def set_timing_cache(self, cache: TimingCache, ignore_mismatch: bool) -> bool: ...  # noqa: D102


class Builder(Protocol):
    """`IBuilder`."""

    num_DLA_cores: int  # noqa: N815

    def create_network(self, flags: int) -> Network: ...  # noqa: D102
    def create_builder_config(self) -> Config: ...  # noqa: D102
    def create_optimization_profile(self) -> Profile: ...  # noqa: D102
    def build_serialized_network(self, network: Network, config: Config) -> Any: ...  # noqa: D102


class ParserError(Protocol):
    """`IParserError`; `node_name` and `node_operator` came with TensorRT 8.6."""

    def code(self) -> Any: ...  # noqa: D102
    def desc(self) -> str: ...  # noqa: D102
    def node(self) -> int: ...  # noqa: D102


class Parser(Protocol):
    """`IOnnxParser`."""

    num_errors: int

    def parse(self, model: bytes) -> bool: ...  # noqa: D102
    def get_error(self, index: int) -> ParserError: ...  # noqa: D102


class TensorRT(Protocol):
    """The module itself. Enumerations are `Any`: their members differ from version to version."""

    __name__: str
    __version__: str
    ILogger: Any
    BuilderFlag: Any
    DataType: Any
    DeviceType: Any
    LayerType: Any
    MemoryPoolType: Any
    NetworkDefinitionCreationFlag: Any
    IProfiler: Any
    Runtime: Any

    def Builder(self, logger: Any) -> Builder: ...  # noqa: D102, N802
    def OnnxParser(self, network: Network, logger: Any) -> Parser: ...  # noqa: D102, N802


def load(module: str) -> TensorRT:
    """Import `tensorrt` or `tensorrt_rtx`.

    Raises:
        InvalidOption: Another module.
        SetupError: It is not installed, or its libraries are missing; the text says how to get it.
    """
    if module not in MODULES:
        raise InvalidOption(f"{module!r} builds no plans; there are: {', '.join(MODULES)}")
    try:
        found: Any = importlib.import_module(module)
    except (ImportError, OSError) as error:  # OSError: the bindings are there, libnvinfer is not
        raise SetupError(f"plans are built by {module}, which is not usable ({error}); {_INSTALL[module]}") from error
    if not hasattr(found, "Builder"):  # such as `tensorrt-stubs` alone: a folder of types that imports as a module
        raise SetupError(f"plans are built by {module}, and the one that is installed is empty; {_INSTALL[module]}")
    return cast(TensorRT, found)


def installed() -> ModuleName:
    """The module that builds plans here: TensorRT where it is usable, otherwise TensorRT for RTX.

    Raises:
        SetupError: Neither is; the text says why, and how to get them.
    """
    problems = {module: _problem_with(module) for module in MODULES}
    for module, problem in problems.items():
        if not problem:
            return module
    raise SetupError("; ".join(problems.values()))


def _problem_with(module: ModuleName) -> str:
    try:
        load(module)
    except SetupError as error:
        return str(error)
    return ""


class ErrorLog:
    """Collects the errors that TensorRT logs, because its calls only say that they failed."""

    def __init__(self, trt: TensorRT) -> None:
        self._errors: list[str] = []
        self.logger: Any = _logger(trt, self._errors)
        """What TensorRT takes as its logger."""

    @property
    def text(self) -> str:
        """Each error once."""
        return "; ".join(dict.fromkeys(self._errors))


def _logger(trt: TensorRT, errors: list[str]) -> Any:
    severe = (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR)
    base: Any = trt.ILogger

    class Logger(base):  # type: ignore[misc]  # the base class is known at run time only
        def __init__(self) -> None:
            base.__init__(self)

        def log(self, severity: Any, message: str) -> None:
            if severity in severe:
                errors.append(message.strip())

    return Logger()

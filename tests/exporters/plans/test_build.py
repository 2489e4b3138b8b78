"""The builder with versions of TensorRT that are not here."""

from __future__ import annotations

import enum
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from exporters.plans.build import PlanOptions, build_plan
from reeltag.errors import InputError, InvalidOption, SetupError

GRAPH = b"a graph"


class FakeTensorRT85(ModuleType):
    """TensorRT 8.5 as far as the builder uses it: no strong typing, no progress monitors, parser errors by number.

    It "parses" anything into one input and two layers, and keeps what it was told in `told`.
    """

    __version__ = "8.5.2.2"

    class NetworkDefinitionCreationFlag(enum.IntEnum):
        EXPLICIT_BATCH = 0
        EXPLICIT_PRECISION = 1

    BuilderFlag = enum.Enum("BuilderFlag", ["FP16", "INT8", "GPU_FALLBACK"])
    DataType = enum.Enum("DataType", ["FLOAT", "HALF", "INT8"])
    DeviceType = enum.Enum("DeviceType", ["GPU", "DLA"])
    LayerType = enum.Enum("LayerType", ["CONVOLUTION", "QUANTIZE"])
    MemoryPoolType = enum.Enum("MemoryPoolType", ["WORKSPACE"])

    class ILogger:
        Severity = enum.Enum("Severity", ["INTERNAL_ERROR", "ERROR", "WARNING", "INFO", "VERBOSE"])

    def __init__(self, *, dtype: str = "FLOAT", layer: str = "CONVOLUTION", fails: str = "") -> None:
        super().__init__("tensorrt")
        self.dtype, self.layer, self.fails = self.DataType[dtype], self.LayerType[layer], fails
        self.told: dict[str, Any] = {"flags": set()}

    def Builder(self, logger: Any) -> FakeBuilder:  # noqa: N802  # TensorRT's name
        if self.fails == "gpu":
            raise TypeError("pybind11::init(): factory function returned nullptr")
        return FakeBuilder(self, logger)

    def OnnxParser(self, network: Any, logger: Any) -> FakeParser:  # noqa: N802  # TensorRT's name
        return FakeParser(self)


class FakeParser:
    num_errors = 1
    Code = enum.Enum("Code", ["UNSUPPORTED_NODE"])

    def __init__(self, module: FakeTensorRT85) -> None:
        self.module = module

    def parse(self, model: bytes) -> bool:
        return self.module.fails != "parse"

    def get_error(self, index: int) -> FakeParser:
        return self

    def code(self) -> Any:
        return self.Code.UNSUPPORTED_NODE

    def desc(self) -> str:
        return "no importer"

    def node(self) -> int:
        return 1


class FakeBuilder:
    num_DLA_cores = 2  # noqa: N815

    def __init__(self, module: FakeTensorRT85, logger: Any) -> None:
        self.module, self.logger = module, logger

    def create_network(self, flags: int) -> FakeNetwork:
        self.module.told["network"] = flags
        return FakeNetwork(self.module)

    def create_builder_config(self) -> FakeConfig:
        return FakeConfig(self.module)

    def create_optimization_profile(self) -> FakeBuilder:
        return self

    def set_shape(self, name: str, *shapes: tuple[int, ...]) -> None:
        self.module.told[name] = shapes

    def build_serialized_network(self, network: Any, config: FakeConfig) -> bytes | None:
        if self.module.fails == "build":
            self.logger.log(self.module.ILogger.Severity.ERROR, "out of memory")
            return None
        self.module.told["config"] = config
        return b"a plan"


class FakeNetwork:
    num_inputs = 1
    num_layers = 2
    num_outputs = 1
    name = "FRAMES"
    shape = (-1, 4, 4, 3)

    def __init__(self, module: FakeTensorRT85) -> None:
        self.dtype, self.type = module.dtype, module.layer

    def get_input(self, index: int) -> FakeNetwork:
        return self

    get_layer = get_output = get_input


class FakeConfig:
    def __init__(self, module: FakeTensorRT85) -> None:
        self.told = module.told
        self.cache: FakeCache | None = None

    def add_optimization_profile(self, profile: Any) -> int:
        return 0

    def set_flag(self, flag: Any) -> None:
        self.told["flags"].add(flag.name)

    def set_memory_pool_limit(self, pool: Any, pool_size: int) -> None:
        self.told[pool.name] = pool_size

    def create_timing_cache(self, data: bytes) -> FakeCache:
        return FakeCache(data)

    def set_timing_cache(self, cache: FakeCache, ignore_mismatch: bool) -> bool:
        if cache.data == b"of another GPU":
            return False
        self.cache = cache
        return True

    def get_timing_cache(self) -> FakeCache | None:
        return self.cache


class FakeCache:
    def __init__(self, data: bytes) -> None:
        self.data = data

    def serialize(self) -> bytes:
        return self.data + b"+"


def install(monkeypatch: pytest.MonkeyPatch, module: FakeTensorRT85) -> dict[str, Any]:
    monkeypatch.setitem(sys.modules, "tensorrt", module)
    return module.told


def test_without_strong_typing_flags_allow_what_the_graph_has(monkeypatch: pytest.MonkeyPatch) -> None:
    cases: list[tuple[dict[str, str], set[str]]] = [
        ({}, set()),
        ({"dtype": "HALF"}, {"FP16"}),
        ({"layer": "QUANTIZE"}, {"INT8"}),
        ({"dtype": "HALF", "layer": "QUANTIZE"}, {"FP16", "INT8"}),
    ]
    for found, flags in cases:
        told = install(monkeypatch, FakeTensorRT85(**found))
        plan = build_plan(GRAPH, PlanOptions(workspace_bytes=1 << 28))
        assert told["flags"] == flags
        assert told["network"] == 1, "8.5 needs EXPLICIT_BATCH and knows no other flag of ours"
        assert told["FRAMES"] == ((1, 4, 4, 3), (8, 4, 4, 3), (32, 4, 4, 3))
        assert told["WORKSPACE"] == 1 << 28
        assert (plan.data, plan.version, plan.strongly_typed) == (b"a plan", "8.5.2.2", False)


class FakeTensorRT10(FakeTensorRT85):
    """TensorRT 10 knows both: it is to be told to type strongly, and then takes no flags."""

    __version__ = "10.13.0.35"

    class NetworkDefinitionCreationFlag(enum.IntEnum):
        EXPLICIT_BATCH = 0
        STRONGLY_TYPED = 1


class FakeTensorRT11(FakeTensorRT85):
    """TensorRT 11 knows nothing but strong typing."""

    __version__ = "11.4.0.12"

    class NetworkDefinitionCreationFlag(enum.IntEnum):
        PREFER_JIT_PYTHON_PLUGINS = 3

    BuilderFlag = enum.Enum("BuilderFlag", ["GPU_FALLBACK"])


@pytest.mark.parametrize(("fake", "network"), [(FakeTensorRT10, 0b11), (FakeTensorRT11, 0)])
def test_a_strongly_typed_network_takes_its_precisions_from_the_graph(
    fake: type[FakeTensorRT85], network: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = install(monkeypatch, fake(dtype="HALF", layer="QUANTIZE"))
    plan = build_plan(GRAPH)
    assert (told["network"], told["flags"]) == (network, set())
    assert (plan.version, plan.strongly_typed) == (fake.__version__, True)


def test_a_dla_core_is_used_with_the_gpu_for_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    told = install(monkeypatch, FakeTensorRT85())
    build_plan(GRAPH, PlanOptions(dla_core=1))
    assert told["flags"] == {"GPU_FALLBACK"}
    assert (told["config"].DLA_core, told["config"].default_device_type.name) == (1, "DLA")
    with pytest.raises(InvalidOption, match="no DLA core 2: this machine has 2"):
        build_plan(GRAPH, PlanOptions(dla_core=2))


def test_the_timing_cache_is_read_and_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    install(monkeypatch, FakeTensorRT85())
    path = tmp_path / "cache" / "timings"
    for content in (b"+", b"++"):
        build_plan(GRAPH, PlanOptions(timing_cache=path))
        assert path.read_bytes() == content
    path.write_bytes(b"of another GPU")
    with pytest.warns(UserWarning, match="of another TensorRT or GPU"):
        build_plan(GRAPH, PlanOptions(timing_cache=path))
    assert path.read_bytes() == b"+"


def test_a_version_without_node_names_still_names_the_node(monkeypatch: pytest.MonkeyPatch) -> None:
    onnx = pytest.importorskip("onnx")
    nodes = [onnx.helper.make_node("Relu", ["a"], ["b"]), onnx.helper.make_node("Det", ["b"], ["c"], name="culprit")]
    graph = onnx.helper.make_model(onnx.helper.make_graph(nodes, "g", [], []))
    install(monkeypatch, FakeTensorRT85(fails="parse"))
    with pytest.raises(InputError, match=r"8\.5\.2\.2 cannot take .*node 'culprit' \(Det\): UNSUPPORTED_NODE, no imp"):
        build_plan(graph.SerializeToString())


def test_failures_say_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, FakeTensorRT85(fails="gpu"))
    with pytest.raises(SetupError, match=r"tensorrt 8\.5\.2\.2 found no usable NVIDIA GPU"):
        build_plan(GRAPH)
    install(monkeypatch, FakeTensorRT85(fails="build"))
    with pytest.raises(SetupError, match="could not build the plan: out of memory"):
        build_plan(GRAPH)
    install(monkeypatch, FakeTensorRT85())
    with pytest.raises(InvalidOption, match="for the GPU that is here only; tensorrt_rtx builds for others"):
        build_plan(GRAPH, PlanOptions(targets=("SM89",)))


def test_types_alone_are_no_tensorrt(monkeypatch: pytest.MonkeyPatch) -> None:
    """`tensorrt-stubs` without TensorRT is a folder that imports as an empty module."""
    monkeypatch.setitem(sys.modules, "tensorrt", ModuleType("tensorrt"))
    with pytest.raises(SetupError, match=r"installed is empty; pip install 'reeltag\[tensorrt\]'"):
        build_plan(GRAPH)


@pytest.mark.skipif(importlib.util.find_spec("tensorrt") is not None, reason="tensorrt is installed")
def test_without_tensorrt_the_extra_is_named() -> None:
    with pytest.raises(SetupError, match=r"pip install 'reeltag\[tensorrt\]'"):
        build_plan(GRAPH)

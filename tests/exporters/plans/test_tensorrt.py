"""The builder with the real TensorRT for RTX, which builds plans without a GPU."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from exporters.catalogue.entries import MODELS
from exporters.plans import tensorrt_api
from exporters.plans.build import BatchProfile, PlanOptions, build_plan
from exporters.plans.planned import planned
from exporters.publishing.artefact import bundled_artefact
from reeltag.errors import InputError, InvalidOption, OutputError

onnx = pytest.importorskip("onnx")
trt: Any = pytest.importorskip("tensorrt_rtx", reason="tensorrt_rtx is not installed (pip install tensorrt-rtx)")

TARGETS = ("SM86", "SM89")
SMALLEST = MODELS["efficientnet_lite0"]


def options_for(largest: int = 8, **others: Any) -> PlanOptions:
    return PlanOptions(BatchProfile(1, min(4, largest), largest), targets=TARGETS, **others)


def one_node_graph(operator: str, shape: tuple[str | int, ...] = ("batch", 3, 3), **attributes: Any) -> bytes:
    """uint8 `FRAMES` through a cast and one node, named `culprit`."""
    helper = onnx.helper
    nodes = [
        helper.make_node("Cast", ["FRAMES"], ["float"], to=onnx.TensorProto.FLOAT),
        helper.make_node(operator, ["float"], ["out"], name="culprit", **attributes),
    ]
    inputs = [helper.make_tensor_value_info("FRAMES", onnx.TensorProto.UINT8, shape)]
    outputs = [helper.make_tensor_value_info("out", onnx.TensorProto.FLOAT, None)]
    graph = helper.make_graph(nodes, "one", inputs, outputs)
    data: bytes = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 15)]).SerializeToString()
    return data


def test_progress_is_told_and_ends_at_the_last_step() -> None:
    told: list[tuple[str, int, int]] = []
    build_plan(one_node_graph("Relu"), options_for(), module="tensorrt_rtx", progress=lambda *step: told.append(step))
    assert told[0] == ("Building engine", 0, told[0][2])
    assert ("Building engine", told[0][2], told[0][2]) in told
    assert len({phase for phase, _, _ in told}) > 3


CANCELLED = """
import os, signal, sys
from pathlib import Path
from exporters.plans.build import PlanOptions, build_plan

told = []

def progress(phase, done, total):
    told.append(phase)
    if sys.argv[2] == "raise":
        raise TimeoutError("this machine is needed for something else")
    if len(told) == 5:
        os.kill(os.getpid(), signal.SIGINT)

before = signal.getsignal(signal.SIGINT)
options = PlanOptions(targets=("SM89",))
try:
    build_plan(Path(sys.argv[1]).read_bytes(), options, module="tensorrt_rtx", progress=progress)
except (KeyboardInterrupt, TimeoutError) as error:
    print(type(error).__name__, signal.getsignal(signal.SIGINT) is before, len(told) <= 6)
"""


@pytest.mark.parametrize(("how", "error"), [("interrupt", "KeyboardInterrupt"), ("raise", "TimeoutError")])
def test_an_interrupt_and_what_progress_raises_cancel_the_build(how: str, error: str) -> None:
    """In its middle; the handler that was there before is there again. A process of its own: a crash would end all."""
    command = [sys.executable, "-c", CANCELLED, str(SMALLEST.onnx_path), how]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert ended.stdout == f"{error} True True\n", ended


INTERRUPTED = """
import sys
from pathlib import Path
from exporters.plans.build import PlanOptions, build_plan

graph, plan = map(Path, sys.argv[1:])
tell = lambda phase, done, total: print(phase, flush=True)
build_plan(graph.read_bytes(), PlanOptions(targets=("SM89",)), module="tensorrt_rtx", progress=tell).write(plan)
"""


def test_an_interrupted_process_ends_at_once_and_leaves_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-c", INTERRUPTED, str(SMALLEST.onnx_path), str(tmp_path / "model.plan")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "Building engine\n"
        process.send_signal(signal.SIGINT)
        told, errors = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGINT, errors
    assert "KeyboardInterrupt" in errors
    assert len(told.splitlines()) < 5, "the build went on"
    assert list(tmp_path.iterdir()) == []


def test_an_operator_that_tensorrt_lacks_is_named() -> None:
    with pytest.raises(InputError, match=r"tensorrt_rtx .* cannot take the graph: node 'culprit' \(Det\): UNSUPPORTED"):
        build_plan(one_node_graph("Det"), options_for(), module="tensorrt_rtx")


def test_a_node_that_tensorrt_refuses_is_named_with_the_reason() -> None:
    graph = onnx.load_from_string(one_node_graph("Relu"))
    graph.graph.node[0].CopyFrom(
        onnx.helper.make_node("Transpose", ["FRAMES"], ["float"], name="early", perm=[0, 2, 1])
    )
    with pytest.raises(InputError, match=r"node 'early' \(Transpose\): .*has type UInt8 but must have type Float"):
        build_plan(graph.SerializeToString(), options_for(), module="tensorrt_rtx")


def test_bytes_that_are_no_graph_are_refused() -> None:
    with pytest.raises(InputError, match="cannot take the graph: MODEL_DESERIALIZE_FAILED"):
        build_plan(b"no graph at all", options_for(), module="tensorrt_rtx")


@pytest.mark.parametrize("shape", [(1, 3, 3), ("batch", "rows", 3)])
def test_a_fixed_batch_and_a_free_size_are_refused(shape: tuple[str | int, ...]) -> None:
    with pytest.raises(InputError, match=r"input 'FRAMES' has shape .* needs a free first axis"):
        build_plan(one_node_graph("Relu", shape), options_for(), module="tensorrt_rtx")


def test_options_outside_their_range_say_what_fits(tmp_path: Path) -> None:
    graph = one_node_graph("Relu")
    with pytest.raises(InvalidOption, match="8, 4, 2 are not 1 <= smallest"):
        BatchProfile(8, 4, 2)
    with pytest.raises(InvalidOption, match=r"cannot build for SM42; it can for .*SM89"):
        build_plan(graph, PlanOptions(targets=("SM42",)), module="tensorrt_rtx")
    with pytest.raises(InvalidOption, match="no DLA core 0: this machine has 0"):
        build_plan(graph, options_for(dla_core=0), module="tensorrt_rtx")
    with pytest.raises(InvalidOption, match="no timing cache"):
        build_plan(graph, options_for(timing_cache=tmp_path / "timings"), module="tensorrt_rtx")
    with pytest.raises(InvalidOption, match="'trt' builds no plans; there are: tensorrt, tensorrt_rtx"):
        build_plan(graph, module="trt")
    assert list(tmp_path.iterdir()) == []


def test_a_plan_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    plan = build_plan(one_node_graph("Relu"), options_for(), module="tensorrt_rtx")
    path = tmp_path / "new" / "model.plan"
    plan.write(path)
    assert path.read_bytes() == plan.data
    assert [file.name for file in path.parent.iterdir()] == ["model.plan"]
    with pytest.raises(OutputError, match="cannot be written"):
        plan.write(path / "below_a_file")


@pytest.mark.parametrize(
    ("name", "profile", "sizes"), [("efficientnet_lite0", 8, (1, 8, 8)), ("transnetv2", 32, (1, 2, 2))]
)
def test_network_and_plan_take_the_same_batches(
    name: str, profile: int, sizes: tuple[int, int, int], tmp_path: Path
) -> None:
    options = PlanOptions(BatchProfile(1, 8, profile), targets=TARGETS)
    artefact = planned(bundled_artefact(MODELS[name]), options, tmp_path, builder="tensorrt_rtx")
    assert artefact.passport.plan is not None
    assert artefact.passport.plan.batch_sizes == sizes
    assert artefact.spec.max_batch_size == sizes[2]


def test_the_typed_parts_exist_in_the_real_module() -> None:
    """`tensorrt_api` describes the module by hand; this is what keeps the description true."""
    classes = {
        trt.Builder: tensorrt_api.Builder,
        trt.IBuilderConfig: tensorrt_api.Config,
        trt.INetworkDefinition: tensorrt_api.Network,
        trt.ILayer: tensorrt_api.Layer,
        trt.ITensor: tensorrt_api.Tensor,
        trt.IOptimizationProfile: tensorrt_api.Profile,
        trt.ITimingCache: tensorrt_api.TimingCache,
        trt.OnnxParser: tensorrt_api.Parser,
        trt.ParserError: tensorrt_api.ParserError,
        trt: tensorrt_api.TensorRT,
    }
    for real, described in classes.items():
        members = {*described.__annotations__, *(name for name in vars(described) if not name.startswith("_"))}
        assert members
        assert {name for name in members if not hasattr(real, name)} == set()

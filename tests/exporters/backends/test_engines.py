"""What runs a network on preallocated tensors; on the CPU here, where it answers the same."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

torch = pytest.importorskip("torch")
onnxruntime = pytest.importorskip("onnxruntime")

from exporters.backends.batches import Batches, batch_sizes  # noqa: E402
from exporters.backends.onnx_engine import OnnxEngine, _parts_of  # noqa: E402
from exporters.backends.onnx_parts import parts_of  # noqa: E402
from exporters.backends.plan_engine import PlanEngine  # noqa: E402
from exporters.catalogue.entries import MODELS  # noqa: E402
from exporters.graphs.suppression import suppressing, suppression_graph  # noqa: E402
from reeltag.contract import FRAMES  # noqa: E402

SPEC = MODELS["efficientnet_lite0"]
CPU = torch.device("cpu")


def pictures(count: int, seed: int = 0) -> Any:
    numbers = np.random.default_rng(seed).integers(0, 256, (count, *SPEC.input_shape), np.uint8)
    return torch.from_numpy(numbers)


def device() -> Any:
    if torch.cuda.is_available():
        return torch.device("cuda", 0)
    if os.environ.get("FAIL_WITHOUT_GPU") == "1":
        pytest.fail("FAIL_WITHOUT_GPU=1, and PyTorch finds no NVIDIA GPU")
    return CPU


def test_batch_sizes_are_few_and_end_with_the_largest() -> None:
    assert batch_sizes(1) == (1,)
    assert batch_sizes(32) == (1, 2, 4, 8, 12, 16, 24, 32)
    assert batch_sizes(10, smallest=3) == (3, 4, 8, 10)


def test_requests_of_any_size_are_answered_as_if_each_came_alone() -> None:
    """Batches are filled up with what earlier ones left; nobody sees that."""
    sizes = batch_sizes(5)
    batches = Batches(OnnxEngine(SPEC.onnx_path, FRAMES, SPEC.input_shape, sizes, device()), sizes)
    session = onnxruntime.InferenceSession(SPEC.onnx_path, providers=["CPUExecutionProvider"])
    for seed, counts in enumerate([(5,), (1,), (2, 1), (1, 1, 3)]):
        parts = [pictures(count, seed + 10 * number) for number, count in enumerate(counts)]
        answers = batches.infer(parts)
        for part, answer in zip(parts, answers, strict=True):
            (expected,) = session.run(None, {FRAMES: part.numpy()})
            np.testing.assert_allclose(answer["SCORES"].cpu().numpy(), expected, atol=2e-3)


def test_more_than_the_largest_batch_is_refused() -> None:
    sizes = batch_sizes(2)
    batches = Batches(OnnxEngine(SPEC.onnx_path, FRAMES, SPEC.input_shape, sizes, CPU), sizes)
    with pytest.raises(ValueError, match="3 pictures at once, and 2 are possible"):
        batches.infer([pictures(3)])


def test_answers_lie_in_the_same_memory_at_every_call() -> None:
    sizes = batch_sizes(2)
    engine = OnnxEngine(SPEC.onnx_path, FRAMES, SPEC.input_shape, sizes, device())
    batches = Batches(engine, sizes)
    places = {batches.infer([pictures(2, seed)])[0]["SCORES"].data_ptr() for seed in range(3)}
    assert places == {engine.outputs["SCORES"].data_ptr()}


def test_a_graph_that_cannot_be_read_says_so(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"no graph")
    with pytest.raises(Exception, match=r"model\.onnx"):
        OnnxEngine(tmp_path / "model.onnx", FRAMES, (8, 8, 3), (1,), CPU)


def answers(graph: Any, given: dict[str, Any]) -> dict[str, Any]:
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(
        zip(names, session.run(None, {each.name: given[each.name] for each in session.get_inputs()}), strict=True)
    )


def test_the_parts_before_and_behind_a_loop_answer_what_the_graph_does() -> None:
    graph = suppression_graph(40, score_threshold=0.1, iou_threshold=0.5, max_detections=20)
    first, second = parts_of(graph)
    assert not {node.op_type for node in first.graph.node} & {"Loop", "If", "Scan"}
    generator = np.random.default_rng(0)
    corners = generator.uniform(0, 60, (3, 40, 2))
    fields = [corners, corners + generator.uniform(10, 40, (3, 40, 2)), generator.uniform(0, 1, (3, 40, 1))]
    candidates = np.concatenate([*fields, generator.integers(0, 2, (3, 40, 1))], 2).astype(np.float32)
    expected = answers(graph, {"CANDIDATES": candidates})
    found = answers(second, answers(first, {"CANDIDATES": candidates}))
    assert found.keys() == expected.keys()
    assert 0 < expected["COUNT"].min() < 40
    for name, values in expected.items():
        np.testing.assert_array_equal(found[name], values)


def test_a_graph_without_a_loop_or_that_cannot_be_cut_before_it_stays_whole() -> None:
    plain = onnx.load(SPEC.onnx_path)
    assert parts_of(plain) == [plain]
    graph = suppression_graph(40, score_threshold=0.1, iou_threshold=0.5, max_detections=20)
    graph.graph.output.append(helper.make_tensor_value_info("nms/good", onnx.TensorProto.FLOAT, ["batch", 40, 1]))
    assert parts_of(graph) == [graph]
    again = suppression_graph(40, score_threshold=0.1, iou_threshold=0.5, max_detections=20)
    again.graph.node.append(helper.make_node("Add", ["nms/keep", "CANDIDATES"], ["late"]))
    again.graph.output.append(helper.make_tensor_value_info("late", onnx.TensorProto.FLOAT, ["batch", 40, 6]))
    assert parts_of(again) == [again]


class _InParts(OnnxEngine):
    """As on a GPU: in two parts, each with a session for every batch size."""

    def _open(self, parts: Any, given: Any, *, graphs: bool, apart: bool) -> None:
        super()._open(_parts_of(parts[0]), given, graphs=graphs, apart=True)


@pytest.mark.parametrize("kind", [OnnxEngine, _InParts])
def test_a_detector_with_suppression_answers_at_every_size(kind: type[OnnxEngine], tmp_path: Path) -> None:
    """On a GPU it is recorded but for its loop."""
    spec, sizes = MODELS["nanodet_g"], batch_sizes(4)
    graph = suppressing(onnx.load(spec.onnx_path))
    (tmp_path / "model.onnx").write_bytes(graph.SerializeToString())
    place = device() if kind is OnnxEngine else CPU
    engine = kind(tmp_path / "model.onnx", FRAMES, spec.input_shape, sizes, place)
    assert not engine.without_graphs
    assert engine.outputs.keys() == {output.name for output in graph.graph.output}
    frames = np.random.default_rng(1).integers(0, 256, (4, *spec.input_shape), np.uint8)
    for count in (4, 1, 2):
        expected = answers(graph, {FRAMES: frames[:count]})
        engine.frames[:count].copy_(torch.from_numpy(frames[:count]))
        engine.run(count)
        np.testing.assert_allclose(engine.outputs["SCORES"][:count].cpu().numpy(), expected["SCORES"], atol=0.02)


def test_a_gpu_without_memory_for_so_many_sessions_has_one(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def opened(self: OnnxEngine, parts: Any, given: Any, *, graphs: bool, apart: bool) -> None:
        asked.append((graphs, apart))
        if apart:
            raise MemoryError("Failed to allocate memory")

    monkeypatch.setattr(OnnxEngine, "_open", opened)
    monkeypatch.setattr("exporters.backends.onnx_engine.torch.cuda.Stream", lambda _: None)
    monkeypatch.setattr("exporters.backends.onnx_engine.torch.zeros", lambda *_, **__: None)
    engine = OnnxEngine(SPEC.onnx_path, FRAMES, SPEC.input_shape, (1, 2), torch.device("cuda", 0))
    assert asked == [(True, True), (False, True), (False, False)]
    assert engine.without_graphs == "Failed to allocate memory"


class _Mode(IntEnum):
    INPUT = 0
    OUTPUT = 1


class _Type(IntEnum):
    FLOAT = 0
    UINT8 = 1


@dataclass
class _Context:
    """Computes the mean of each picture from memory to memory, as TensorRT's context does its network."""

    scratch: int = 0
    shape: tuple[int, ...] = ()
    addresses: dict[str, int] = field(default_factory=dict)

    def set_device_memory(self, address: int, size: int) -> None:
        assert size >= 64
        self.scratch = address

    def set_input_shape(self, _name: str, shape: tuple[int, ...]) -> bool:
        self.shape = shape
        return True

    def get_tensor_shape(self, _name: str) -> tuple[int, ...]:
        return (self.shape[0], 2)

    def set_tensor_address(self, name: str, address: int) -> bool:
        self.addresses[name] = address
        return True

    def execute_async_v3(self, _stream: int) -> bool:
        count = int(np.prod(self.shape))
        given = (ctypes.c_uint8 * count).from_address(self.addresses[FRAMES])
        answers = (ctypes.c_float * (self.shape[0] * 2)).from_address(self.addresses["MEANS"])
        means = np.frombuffer(memoryview(given), np.uint8).reshape(self.shape[0], -1).mean(1)
        np.frombuffer(memoryview(answers), np.float32)[:] = np.repeat(means, 2)
        return True


class _Engine:
    num_io_tensors = 2
    device_memory_size_v2 = 64

    def __init__(self) -> None:
        self.contexts: list[_Context] = []

    def get_tensor_name(self, index: int) -> str:
        return (FRAMES, "MEANS")[index]

    def get_tensor_mode(self, name: str) -> _Mode:
        return _Mode.INPUT if name == FRAMES else _Mode.OUTPUT

    def get_tensor_dtype(self, name: str) -> _Type:
        return _Type.UINT8 if name == FRAMES else _Type.FLOAT

    def create_execution_context(self, strategy: str) -> _Context:
        assert strategy == "caller's memory"
        self.contexts.append(_Context())
        return self.contexts[-1]


class _TensorRT:
    """The part of TensorRT's interface that a plan is run by."""

    __name__, __version__ = "tensorrt", "10.13.3.9"
    TensorIOMode = _Mode
    engine = _Engine()

    class ExecutionContextAllocationStrategy:
        USER_MANAGED = "caller's memory"

    class Logger:
        ERROR = 1

        def __init__(self, level: int) -> None:
            assert level == self.ERROR

    class Runtime:
        def __init__(self, _logger: object) -> None:
            pass

        def deserialize_cuda_engine(self, plan: bytes) -> _Engine | None:
            return _TensorRT.engine if plan == b"of this GPU" else None


def _run(counts: Sequence[int]) -> None:
    sizes = batch_sizes(8)
    batches = Batches(PlanEngine(_TensorRT(), b"of this GPU", FRAMES, (4, 4, 3), sizes, CPU), sizes)
    parts = [torch.full((count, 4, 4, 3), 10 * number + 5, dtype=torch.uint8) for number, count in enumerate(counts)]
    for number, answer in enumerate(batches.infer(parts)):
        assert answer["MEANS"].tolist() == [[10 * number + 5.0] * 2] * counts[number]


def test_a_plan_answers_each_request_with_its_own() -> None:
    _run([1])
    _run([3, 1, 2])


def test_the_contexts_of_a_plan_share_their_scratch_memory() -> None:
    _TensorRT.engine = _Engine()
    _run([8])
    assert len(_TensorRT.engine.contexts) == len(batch_sizes(8))
    assert len({context.scratch for context in _TensorRT.engine.contexts}) == 1


def test_a_plan_of_another_gpu_says_what_cannot_load_it() -> None:
    with pytest.raises(RuntimeError, match=r"tensorrt 10\.13\.3\.9 cannot load the plan on this GPU"):
        PlanEngine(_TensorRT(), b"of another GPU", FRAMES, (4, 4, 3), (1,), CPU)

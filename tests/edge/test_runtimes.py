"""Networks of the model repository in each runtime that is here."""

from __future__ import annotations

import ctypes
import json
import shutil
import sys
from collections.abc import Callable
from enum import IntEnum
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pytest

from edge.capture.colours import Colours
from edge.pipeline.picture import CameraPicture
from edge.runtimes import tensorrt_network
from edge.runtimes.artefacts import NetworkArtefact, find_detector
from edge.runtimes.memory import Host
from edge.runtimes.network import open_network
from edge.runtimes.nv12 import GRAPH
from edge.runtimes.tensorrt_plan import build_nv12
from reeltag.errors import InvalidOption, ModelRepositoryError, SetupError, UnknownModel
from tests.edge.test_pictures import nv12


@pytest.fixture(scope="module")
def artefact(model_repository: Path) -> NetworkArtefact:
    return find_detector(model_repository)


def test_the_card_is_read_without_what_wrote_it(artefact: NetworkArtefact) -> None:
    assert (artefact.name, artefact.height, artefact.width, artefact.nms) == ("nanodet_g", 416, 416, "python")
    assert artefact.view == "LETTERBOX_416X416_PAD114"
    assert artefact.class_names[:3] == ("person", "bicycle", "car")
    assert artefact.outputs == ("CANDIDATES",)
    assert len(artefact.class_names) == 80


def test_class_names_of_all_scripts_are_read(model_repository: Path, tmp_path: Path) -> None:
    from google.protobuf import text_format
    from tritonclient.grpc.model_config_pb2 import ModelConfig

    shutil.copytree(model_repository / "nanodet_g", tmp_path / "nanodet_g")
    config = tmp_path / "nanodet_g/config.pbtxt"
    parsed = text_format.Parse(config.read_text(), ModelConfig())
    card = json.loads(parsed.parameters["reeltag"].string_value)
    card["labels"][:3] = ['Fahrrad "groß"', "车\\辆", "line\nbreak"]
    parsed.parameters["reeltag"].string_value = json.dumps(card, ensure_ascii=False)
    for as_utf8 in (False, True):
        config.write_text(text_format.MessageToString(parsed, as_utf8=as_utf8), "utf-8")
        assert list(find_detector(tmp_path).class_names) == card["labels"]


def test_what_is_not_there_is_told_with_what_is(model_repository: Path, tmp_path: Path) -> None:
    with pytest.raises(UnknownModel, match="no detector yolo; it has: nanodet_g"):
        find_detector(model_repository, "yolo")
    with pytest.raises(UnknownModel, match="export one"):
        find_detector(tmp_path)
    with pytest.raises(ModelRepositoryError, match="is no model repository"):
        find_detector(tmp_path / "none")
    shutil.copytree(model_repository / "nanodet_g", tmp_path / "nanodet_g")
    (tmp_path / "nanodet_g/passport.json").write_text("{}")
    with pytest.raises(ModelRepositoryError, match=r"passport\.json"):
        find_detector(tmp_path)


def test_all_runtimes_and_batches_answer_the_same(artefact: NetworkArtefact) -> None:
    frames = np.random.default_rng(3).integers(0, 256, (2, 416, 416, 3), np.uint8)
    frames[:, 100:300, 100:200] = 255
    plain = artefact._replace(precision="fp32")  # bf16 is a hint to OpenVINO; the graph itself is in float32
    answers = []
    for runtime in ("openvino", "onnxruntime"):
        network = open_network(plain, runtime=runtime, largest_batch=2)
        for count in (1, 2):
            network.frames[:] = frames
            (candidates,) = network.run(count)
            assert candidates.shape == (count, 300, 6)
            answers.append(candidates.copy())
        network.close()
    for candidates in answers:
        for one, other in zip(candidates, answers[1], strict=False):
            best = other[:, 4] > 0.02
            np.testing.assert_allclose(one[best], other[best], rtol=2e-3, atol=2e-2)


def test_a_runtime_that_does_not_take_the_file_is_refused(artefact: NetworkArtefact) -> None:
    with pytest.raises(InvalidOption, match="ONNX graph, which tensorrt does not run; build its plan"):
        open_network(artefact, runtime="tensorrt")
    with pytest.raises(InvalidOption, match="there are: tensorrt, openvino, onnxruntime"):
        open_network(artefact, runtime="tflite")
    plan = artefact._replace(file=Path("model.plan"))
    with pytest.raises(InvalidOption, match="TensorRT plan, which openvino does not run"):
        open_network(plan, runtime="openvino")


def test_a_graph_that_is_damaged_is_told(artefact: NetworkArtefact, tmp_path: Path) -> None:
    file = tmp_path / "model.onnx"
    file.write_bytes(artefact.file.read_bytes()[:1000])
    for runtime in ("openvino", "onnxruntime"):
        with pytest.raises(SetupError, match="cannot load"):
            open_network(artefact._replace(file=file), runtime=runtime)


def test_without_tensorrt_or_its_version_a_plan_is_refused_by_name(
    artefact: NetworkArtefact, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = artefact._replace(
        file=Path("model.plan"), runtime="tensorrt", plan={"version": "8.5.2.2", "device": {"jetpack": "5.1.1"}}
    )
    with pytest.raises(SetupError, match="TensorRT is not usable here"):
        open_network(plan)
    monkeypatch.setitem(__import__("sys").modules, "tensorrt", FakeTensorRt("10.3.0"))
    with pytest.raises(
        SetupError, match=r"built by TensorRT 8.5.2.2 \(JetPack 5.1.1\), and 10.3.0 is here; build it on"
    ):
        open_network(plan)
    monkeypatch.setitem(__import__("sys").modules, "tensorrt", FakeTensorRt("8.2.1.8"))
    with pytest.raises(SetupError, match=r"from TensorRT 8.5 on \(JetPack 5\), and 8.2.1.8 is here"):
        open_network(plan)


class FakeTensorRt(ModuleType):
    """The part of NVIDIA's API that exists from 8.5 to 11; its engine answers the mean of each frame."""

    class Logger:
        ERROR = 1

        def __init__(self, severity: int) -> None: ...

    NetworkDefinitionCreationFlag = BuilderFlag = IntEnum("Flag", ["EXPLICIT_BATCH", "FP16"], start=0)

    def __init__(self, version: str) -> None:
        super().__init__("tensorrt")
        self.__version__ = version
        self.built: dict[str, Any] = {}

    def nptype(self, dtype: str) -> type[np.float32]:
        assert dtype == "FLOAT"
        return np.float32

    def Runtime(self, logger: Logger) -> FakeTensorRt:  # noqa: N802
        return self

    def deserialize_cuda_engine(self, data: bytes) -> FakeEngine | None:
        return {b"plan": FakeEngine(), b"nv12": FakeNv12Engine()}.get(data)

    def Builder(self, logger: Logger) -> FakeTensorRt:  # noqa: N802
        return self

    def OnnxParser(self, network: str, logger: Logger) -> FakeTensorRt:  # noqa: N802
        return self

    def create_network(self, flags: int) -> str:
        return "network"

    def create_builder_config(self) -> FakeTensorRt:
        return self

    def create_optimization_profile(self) -> FakeTensorRt:
        return self

    def parse(self, graph: bytes) -> bool:
        return graph == GRAPH.read_bytes()

    def set_flag(self, flag: Any) -> None:
        self.built["flag"] = flag.name

    def set_shape(self, name: str, *shapes: tuple[int, ...]) -> None:
        self.built[name] = shapes

    def add_optimization_profile(self, profile: FakeTensorRt) -> None: ...

    def build_serialized_network(self, network: str, config: FakeTensorRt) -> bytes:
        self.built["times"] = self.built.get("times", 0) + 1
        return b"nv12"


class FakeEngine:
    def create_execution_context(self) -> FakeContext:
        return FakeContext()

    def get_tensor_dtype(self, name: str) -> str:
        return "FLOAT"


class FakeContext:
    """Computes where it was told that the tensors are, with the shapes that it was told."""

    def __init__(self) -> None:
        self.addresses: dict[str, int] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return (self.shapes["FRAMES"][0], 300, 6)

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self.shapes[name] = shape
        return True

    def set_tensor_address(self, name: str, address: int) -> bool:
        self.addresses[name] = address
        return True

    def at(self, name: str, shape: tuple[int, ...], dtype: Any) -> npt.NDArray[Any]:
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        raw = np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(self.addresses[name]))
        return raw.view(dtype).reshape(shape)

    def execute_async_v3(self, stream: int) -> bool:
        frames = self.at("FRAMES", self.shapes["FRAMES"], np.uint8)
        candidates = self.at("CANDIDATES", (len(frames), 300, 6), np.float32)
        candidates[:] = frames.mean((1, 2, 3))[:, None, None]
        return True


class FakeNv12Engine:
    def create_execution_context(self) -> FakeNv12Context:
        return FakeNv12Context()


class FakeNv12Context(FakeContext):
    """The real graph, in ONNX Runtime."""

    def execute_async_v3(self, stream: int) -> bool:
        import onnxruntime

        session = onnxruntime.InferenceSession(str(GRAPH), providers=["CPUExecutionProvider"])
        types = {"tensor(uint8)": np.uint8, "tensor(float16)": np.float16, "tensor(float)": np.float32}
        given = {
            each.name: self.at(each.name, self.shapes[each.name], types[each.type]) for each in session.get_inputs()
        }
        (frame,) = session.run(None, given)
        self.at("FRAME", frame.shape, np.uint8)[:] = frame
        return True


class FakeCuda(Host):
    """CUDA where host and device are one, as on a Jetson."""

    is_integrated = True
    recorded: ClassVar[int] = 0
    refuses: ClassVar[bool] = False

    def __init__(self) -> None:
        self.stream = ctypes.c_void_p(7)  # type: ignore[assignment]

    def record(self, work: Callable[[], None]) -> Callable[[], None]:
        if FakeCuda.refuses:
            raise SetupError("CUDA's cudaStreamEndCapture failed: operation not permitted (800)")
        FakeCuda.recorded += 1
        return work


@pytest.fixture
def fake_tensorrt(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[FakeTensorRt, dict[str, Any]]:
    """No TensorRT can run here: the calls are tried on what has no others."""
    trt = FakeTensorRt(request.param)
    monkeypatch.setitem(sys.modules, "tensorrt", trt)
    monkeypatch.setattr(tensorrt_network, "Cuda", FakeCuda)
    monkeypatch.setattr(FakeCuda, "recorded", 0)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "model.plan").write_bytes(b"plan")
    plan = {"version": request.param, "batch_sizes": [1, 2, 2]}
    return trt, {"file": tmp_path / "model.plan", "runtime": "tensorrt", "plan": plan}


@pytest.mark.parametrize("fake_tensorrt", ["8.5.2.2", "10.3.0", "11.0.0"], indirect=True)
def test_a_plan_runs_through_the_calls_that_all_versions_have(
    artefact: NetworkArtefact, fake_tensorrt: tuple[FakeTensorRt, dict[str, Any]]
) -> None:
    trt, changes = fake_tensorrt
    plan = artefact._replace(**changes)
    plan.file.write_bytes(b"another plan")
    with pytest.raises(SetupError, match="cannot load"):
        open_network(plan)
    plan.file.write_bytes(b"plan")
    network = open_network(plan, largest_batch=4)
    assert network.frames.shape == (2, 416, 416, 3)
    assert f"TensorRT {trt.__version__}, with CUDA graphs" in network.runtime
    network.frames[0], network.frames[1] = 10, 20
    (both,) = network.run(2)
    assert both[:, 0, 0].tolist() == [10, 20]
    (one,) = network.run(1)
    assert one.shape == (1, 300, 6)
    assert one[0, 0, 0] == 10
    network.close()


@pytest.mark.parametrize("fake_tensorrt", ["8.5.2.2"], indirect=True)
def test_a_plan_takes_nv12_by_a_plan_that_is_built_once(
    artefact: NetworkArtefact, fake_tensorrt: tuple[FakeTensorRt, dict[str, Any]]
) -> None:
    trt, changes = fake_tensorrt
    for _ in range(2):
        network = open_network(artefact._replace(**changes), largest_batch=2)
        looking = CameraPicture(artefact.view)
        for size in ((480, 640), (1080, 1920), (480, 640)):
            frame, expected = nv12(*size, Colours("bt709")), np.zeros((416, 416, 3), np.uint8)
            looking.prepare(frame, network, 1)
            assert looking.where == "network"
            network.frames[0] = 50
            (means,) = network.run(2)
            looking.fitting.place(looking.rgb, expected)  # type: ignore[union-attr]
            assert means[0, 0, 0] == 50
            assert means[1, 0, 0] == pytest.approx(expected.mean(), abs=8)  # noise is clipped before it is scaled there
        network.close()
    assert trt.built["times"] == 1
    assert trt.built["flag"] == "FP16"
    assert trt.built["LUMA"] == ((2, 4), (1080, 1920), (4320, 7680))
    assert FakeCuda.recorded == 2 * (2 + 2)  # of each network two batch sizes, and two sizes of frames


@pytest.mark.parametrize("fake_tensorrt", ["10.3.0"], indirect=True)
def test_what_cannot_be_recorded_runs_without(
    artefact: NetworkArtefact,
    fake_tensorrt: tuple[FakeTensorRt, dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(FakeCuda, "refuses", True)
    network = open_network(artefact._replace(**fake_tensorrt[1]))
    assert "without CUDA graphs" in network.runtime
    network.frames[0] = 30
    assert network.run(1)[0][0, 0, 0] == 30
    network.close()


def test_nvidias_builder_takes_the_graph_of_nv12() -> None:
    """For cameras of all sizes at once; TensorRT for RTX builds without a GPU."""
    trt: Any = pytest.importorskip("tensorrt_rtx", reason="tensorrt_rtx is not installed (pip install tensorrt-rtx)")
    from exporters.plans.build import _set_targets

    data = build_nv12(trt, 416, 640, lambda config: _set_targets(trt, config, ("SM86", "SM89")))
    assert len(data) > 100_000

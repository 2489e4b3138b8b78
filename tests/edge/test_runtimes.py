"""Networks of the model repository in each runtime that is here."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import numpy as np
import pytest

from edge.runtimes import cuda, tensorrt_network
from edge.runtimes.artefacts import NetworkArtefact, find_detector
from edge.runtimes.network import open_network
from reeltag.errors import InvalidOption, ModelRepositoryError, SetupError, UnknownModel


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

    def __init__(self, version: str) -> None:
        super().__init__("tensorrt")
        self.__version__ = version
        self.log: list[tuple[Any, ...]] = []
        self.memory: dict[str, int] = {}
        self.shape: tuple[int, ...] = ()

    def nptype(self, dtype: str) -> type[np.float32]:
        assert dtype == "FLOAT"
        return np.float32

    def Runtime(self, logger: Logger) -> FakeTensorRt:  # noqa: N802
        return self

    def deserialize_cuda_engine(self, data: bytes) -> FakeTensorRt | None:
        return self if data == b"plan" else None

    def create_execution_context(self) -> FakeTensorRt:
        return self

    def get_tensor_dtype(self, name: str) -> str:
        return "FLOAT"

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return (self.shape[0], 300, 6)

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self.shape = shape
        return True

    def set_tensor_address(self, name: str, address: int) -> bool:
        self.memory[name] = address
        return True

    def execute_async_v3(self, stream: int) -> bool:
        frames = FakeCuda.at[self.memory["FRAMES"]]
        FakeCuda.at[self.memory["CANDIDATES"]][: self.shape[0]] = frames[: self.shape[0]].mean((1, 2, 3))[:, None, None]
        return True


class FakeCuda:
    """CUDA where host and device are one, as on a Jetson."""

    at: ClassVar[dict[int, Any]] = {}
    is_integrated = True

    def __init__(self) -> None:
        self.stream = __import__("ctypes").c_void_p(7)

    def memory(self, shape: tuple[int, ...], dtype: Any) -> cuda.Memory:
        array = np.zeros(shape, dtype)
        self.at[array.ctypes.data] = array
        return cuda.Memory(array, array.ctypes.data)

    def upload(self, memory: cuda.Memory, size: int) -> None: ...
    def download(self, memory: cuda.Memory, size: int) -> None: ...
    def wait(self) -> None: ...
    def close(self) -> None:
        self.at.clear()


@pytest.mark.parametrize("version", ["8.5.2.2", "10.3.0", "11.0.0"])
def test_a_plan_runs_through_the_calls_that_all_versions_have(
    artefact: NetworkArtefact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    """No TensorRT can run here: the calls are tried on what has no others."""
    monkeypatch.setitem(__import__("sys").modules, "tensorrt", FakeTensorRt(version))
    monkeypatch.setattr(tensorrt_network, "Cuda", FakeCuda)
    file = tmp_path / "model.plan"
    plan = artefact._replace(file=file, runtime="tensorrt", plan={"version": version, "batch_sizes": [1, 2, 2]})
    file.write_bytes(b"another plan")
    with pytest.raises(SetupError, match="cannot load"):
        open_network(plan)
    file.write_bytes(b"plan")
    network = open_network(plan, largest_batch=4)
    assert network.frames.shape == (2, 416, 416, 3)
    assert version in network.runtime
    network.frames[0], network.frames[1] = 10, 20
    (both,) = network.run(2)
    assert both[:, 0, 0].tolist() == [10, 20]
    (one,) = network.run(1)
    assert one.shape == (1, 300, 6)
    assert one[0, 0, 0] == 10
    network.close()

"""Suppression in the `nms` backend and in the network's own graph: other configurations, the same answers."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from google.protobuf import text_format  # type: ignore[import-untyped,unused-ignore]  # without types-protobuf

from exporters.catalogue.entries import MODELS, ModelSpec, model_spec
from exporters.making import Making, suppression_of
from exporters.publishing import configs, repository
from exporters.publishing.artefact import Artefact, bundled_artefact
from exporters.publishing.configs import Nms
from exporters.publishing.passport import Passport
from reeltag import contract
from reeltag.contract import ModelCard, Task
from reeltag.embedded import EmbeddedTriton, find
from reeltag.errors import EmbeddedUnavailable
from reeltag.settings import Settings
from reeltag.triton import ImageOutputs, TritonClient
from reeltag.triton_connection import model_config_pb2
from tests.exporters.publishing.test_configs import check_steps

onnx = pytest.importorskip("onnx")

from exporters.graphs.suppression import suppressing  # noqa: E402

DETECTOR, CLASSIFIER = MODELS["nanodet_g"], MODELS["efficientnet_lite0"]
BATCHES = (1, 2, 5, 32)


def card(spec: ModelSpec, runtime: str) -> ModelCard:
    return Artefact(spec, spec.onnx_path, Passport(runtime=runtime, precision="fp16")).card


def parsed(config: Any) -> Any:
    """As Triton reads it."""
    return text_format.Parse(text_format.MessageToString(config), model_config_pb2.ModelConfig())


def all_configs(runtime: str, nms: Nms) -> dict[str, Any]:
    """Of a repository with a detector and a classifier."""
    networks = {Task.DETECT: DETECTOR, Task.CLASSIFY: CLASSIFIER}
    cards = {task: card(spec, runtime) for task, spec in networks.items()}
    made = [
        configs.decode_config([spec.view for spec in networks.values() if spec.view], Settings()),
        configs.nms_config(nms, settings=Settings()),
        configs.image_ensemble_config(networks, cards, nms=nms),
    ]
    for task, spec in networks.items():
        made += [
            configs.network_config(spec, cards[task], precision="f32", settings=Settings(), nms=nms),
            configs.image_ensemble_config({task: spec}, cards, nms=nms),
            configs.frames_ensemble_config(task, spec, cards[task], nms=nms),
        ]
    return {config.name: parsed(config) for config in made}


def names(tensors: Any) -> list[str]:
    return [tensor.name for tensor in tensors]


@pytest.mark.parametrize("nms", ["python", "engine"])
@pytest.mark.parametrize("runtime", ["openvino", "tensorrt", "onnxruntime"])
def test_ensembles_fit_together_whatever_runs_and_suppresses(runtime: str, nms: Nms) -> None:
    every = all_configs(runtime, nms)
    check_steps(every)
    boxes = [*Task.DETECT.outputs]
    assert names(every["detect"].output) == [*boxes, contract.GEOMETRY, contract.ERROR]
    assert names(every["detect_frames"].output) == boxes
    assert names(every["nanodet_g"].output) == (boxes if nms == "engine" else [contract.CANDIDATES])
    assert every["nanodet_g"].output[-1].label_filename == ""


def test_a_plan_runs_on_the_gpu_and_a_graph_where_there_is_one() -> None:
    kinds = model_config_pb2.ModelInstanceGroup
    plan, graph = (all_configs(runtime, "engine")["nanodet_g"] for runtime in ("tensorrt", "onnxruntime"))
    assert (plan.platform, plan.backend, plan.instance_group[0].kind) == ("tensorrt_plan", "", kinds.KIND_GPU)
    assert (graph.platform, graph.backend, graph.instance_group[0].kind) == ("", "onnxruntime", kinds.KIND_AUTO)
    for config in (plan, graph):
        assert list(config.parameters) == [contract.CARD_PARAMETER], "only OpenVINO has properties"
        assert config.HasField("dynamic_batching")


def test_ensembles_take_no_more_than_the_largest_batch_of_a_plan() -> None:
    small = replace(DETECTOR, max_batch_size=8)
    cards = {Task.DETECT: card(small, "tensorrt"), Task.CLASSIFY: card(CLASSIFIER, "openvino")}
    whole = configs.image_ensemble_config({Task.DETECT: small, Task.CLASSIFY: CLASSIFIER}, cards)
    frames = configs.frames_ensemble_config(Task.DETECT, small, card(small, "tensorrt"))
    network = configs.network_config(small, card(small, "tensorrt"), precision="f32", settings=Settings())
    assert {config.max_batch_size for config in (whole, frames, network)} == {8}


def test_frames_take_no_python_step_where_the_network_suppresses() -> None:
    every = all_configs("tensorrt", "engine")
    assert [step.model_name for step in every["detect_frames"].ensemble_scheduling.step] == ["nanodet_g"]
    steps = {step.model_name: step for step in every["detect"].ensemble_scheduling.step}
    assert set(steps["nms_engine"].input_map) == {contract.BOXES, contract.GEOMETRY}
    assert dict(steps["nms_engine"].output_map) == {contract.BOXES: contract.BOXES}


def publish(models: Path, nms: Nms) -> None:
    """A repository with the detector alone."""
    model = onnx.load(DETECTOR.onnx_path)
    graph = models.parent / "graph.onnx"
    onnx.save(suppressing(model) if nms == "engine" else model, graph)
    bundled = bundled_artefact(DETECTOR)
    said = {"nms": nms, "exported": True, "precision": "fp32"}
    repository.publish(models, [Artefact(DETECTOR, graph, bundled.passport.model_copy(update=said))])


def served(models: Path, nms: Nms) -> Iterator[str]:
    """Address of a server."""
    publish(models, nms)
    try:
        find()
    except EmbeddedUnavailable as error:
        pytest.skip(str(error))
    with EmbeddedTriton(models) as server:
        yield server.url


@pytest.fixture(scope="module")
def python_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    yield from served(tmp_path_factory.mktemp("python") / "models", "python")


@pytest.fixture(scope="module")
def engine_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    yield from served(tmp_path_factory.mktemp("engine") / "models", "engine")


def check_equal(found: dict[str, npt.NDArray[Any]], expected: dict[str, npt.NDArray[Any]]) -> int:
    """Returns how many boxes there are."""
    assert found.keys() == expected.keys() == set(Task.DETECT.outputs)
    for name, values in expected.items():
        assert found[name].dtype == values.dtype
        np.testing.assert_allclose(found[name], values, rtol=1e-5, atol=1e-3, err_msg=name)
    return len(expected[contract.BOXES])


def test_both_answer_the_same_through_triton(python_url: str, engine_url: str, shared: Path) -> None:
    """Photographs of several shapes, so that boxes are mapped back differently, and one that is none."""
    files = sorted((shared / "data" / "coco128" / "val2017").glob("*.jpg"))[: max(BATCHES) - 1]
    images = [*(file.read_bytes() for file in files), b"no picture"]

    async def ask(url: str) -> list[Any]:
        async with TritonClient(url) as client:
            cards = {Task.DETECT: await client.card("detect")}
            return [answer for n in BATCHES for answer in await client.infer_images(cards, images[-n:])]

    boxes = 0
    for found, expected in zip(asyncio.run(ask(engine_url)), asyncio.run(ask(python_url)), strict=True):
        assert isinstance(found, type(expected))
        if isinstance(expected, ImageOutputs):
            assert (found.width, found.height) == (expected.width, expected.height)
            boxes += check_equal(dict(found.tensors[Task.DETECT]), dict(expected.tensors[Task.DETECT]))
    assert boxes > 10 * len(images)


def test_both_answer_the_same_to_frames(python_url: str, engine_url: str) -> None:
    from exporters.graphs import compare

    frames = compare.sample_frames(DETECTOR, max(BATCHES))

    async def ask(url: str) -> list[dict[str, npt.NDArray[Any]]]:
        async with TritonClient(url) as client:
            card = await client.card("detect_frames")
            return [answer for n in BATCHES for answer in await client.infer_frames(card, frames[:n])]

    answers = zip(asyncio.run(ask(engine_url)), asyncio.run(ask(python_url)), strict=True)
    assert sum(check_equal(found, expected) for found, expected in answers) > 100


@pytest.mark.parametrize(
    ("network", "making", "nms"),
    [
        ("nanodet_g", Making(), "python"),
        ("nanodet_g", Making(runtime="onnxruntime"), "engine"),
        ("nanodet_g", Making(runtime="tensorrt", nms="python"), "python"),
        ("efficientnet_lite0", Making(runtime="tensorrt"), "python"),
    ],
)
def test_boxes_are_suppressed_in_the_graph_where_it_runs_on_a_gpu(network: str, making: Making, nms: str) -> None:
    assert suppression_of(model_spec(network), making) == nms

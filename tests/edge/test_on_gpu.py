"""The edge on a GPU, with ONNX Runtime. Skipped without one, or failed where `FAIL_WITHOUT_GPU=1`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from edge.capture.colours import Colours
from edge.capture.frame import Frame
from edge.pipeline.picture import CameraPicture
from edge.runtimes.artefacts import NetworkArtefact, find_detector
from edge.runtimes.onnxruntime_network import OnnxRuntimeNetwork
from tests.edge.test_nv12 import SIZES, VIEWS, picture, reference
from tests.edge.test_pictures import ALL_COLOURS

onnxruntime = pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module")
def artefact(model_repository: Path) -> NetworkArtefact:
    return find_detector(model_repository)


@pytest.fixture
def network(artefact: NetworkArtefact) -> Iterator[OnnxRuntimeNetwork]:
    network = on_gpu(artefact, 2)
    yield network
    network.close()


def on_gpu(artefact: NetworkArtefact, largest_batch: int = 1, *, replays: bool = True) -> OnnxRuntimeNetwork:
    network = OnnxRuntimeNetwork(artefact, largest_batch, replays=replays)
    if "on the GPU" in network.runtime:
        return network
    network.close()
    if os.environ.get("FAIL_WITHOUT_GPU") == "1":
        pytest.fail(f"FAIL_WITHOUT_GPU=1, and networks run on no GPU here: {network.runtime}")
    pytest.skip(f"networks run on no GPU here: {network.runtime}")


def candidates(network: OnnxRuntimeNetwork, frame: Frame, looking: CameraPicture) -> npt.NDArray[np.float32]:
    looking.prepare(frame, network, 0)
    found: npt.NDArray[np.float32] = network.run(1)[0][0].copy()
    return found


def assert_alike(one: npt.NDArray[np.float32], other: npt.NDArray[np.float32]) -> None:
    """By their scores: candidates whose scores are nearly equal may change places."""
    assert np.abs(np.sort(one[:, 4]) - np.sort(other[:, 4])).max() <= 0.01


def in_gpu_memory(network: OnnxRuntimeNetwork, frame: Frame) -> Frame:
    assert network.nv12 is not None
    there = Frame(network.nv12.frame_memory)
    there.shape_as(frame.height, frame.width, frame.colours)
    there.data[:] = frame.data
    return there


@pytest.mark.parametrize("colours", ALL_COLOURS, ids=str)
def test_inputs_are_what_the_standards_say(network: OnnxRuntimeNetwork, colours: Colours) -> None:
    """All sizes after each other; each is fetched from where the network reads it."""
    looking = CameraPicture(VIEWS[0])
    frames = [picture(*size, colours) for size in SIZES[:3]]
    expected = [reference(frame, VIEWS[0]) for frame in frames]
    for _ in range(2):  # recorded, and replayed
        for frame, wanted in zip(frames, expected, strict=True):
            looking.prepare(in_gpu_memory(network, frame), network, 1)
            assert looking.where == "network"
            network._place.download(network._input, network._input.array.nbytes)
            network._place.wait()
            assert np.abs(network.frames[1] - wanted).max() <= 1


def test_graphs_are_replayed_and_answer_as_plain_runs_do(artefact: NetworkArtefact) -> None:
    """Other pictures in the same memory, other sizes in between."""
    replayed, plain = on_gpu(artefact), on_gpu(artefact, replays=False)
    assert "with CUDA graphs" in replayed.runtime
    assert "without CUDA graphs" in plain.runtime
    looking = {one: CameraPicture(artefact.view) for one in (replayed, plain)}
    seen = []
    for seed in range(3):
        for size in ((480, 640), (1080, 1920)):
            frame = picture(*size, Colours(), seed)
            answers = [candidates(one, frame, looking[one]) for one in (replayed, plain)]
            assert_alike(*answers)
            seen.append(answers[0])
    assert all(np.abs(one - other).max() > 0.1 for one, other in pairwise(seen))
    replayed.close()
    plain.close()


def test_nv12_answers_as_opencvs_rgb_does(network: OnnxRuntimeNetwork, artefact: NetworkArtefact) -> None:
    frame, looking = picture(1080, 1920, Colours("bt709")), CameraPicture(artefact.view)
    there = candidates(network, frame, looking)
    nv12, network.nv12 = network.nv12, None
    here = candidates(network, frame, looking)
    network.nv12 = nv12
    best = here[:, 4] > 0.05
    assert best.any() or here[:, 4].max() < 0.05
    assert abs(there[:, 4].max() - here[:, 4].max()) <= 0.05


def test_a_batch_has_pictures_of_both_kinds(network: OnnxRuntimeNetwork, artefact: NetworkArtefact) -> None:
    north, south = CameraPicture(artefact.view), CameraPicture(artefact.view)
    yuv, rgb = picture(480, 640, Colours()), Frame()
    rgb.shape_as(240, 320, None)
    rgb.data[:] = np.random.default_rng(2).integers(0, 256, len(rgb.data), np.uint8)
    answers = []
    for first, second in (((north, yuv), (south, rgb)), ((south, rgb), (north, yuv))):
        for index, (looking, frame) in enumerate((first, second)):
            looking.prepare(frame, network, index)
        answers.append(network.run(2)[0].copy())
    assert_alike(answers[0][0], answers[1][1])
    assert_alike(answers[0][1], answers[1][0])


def test_the_ladder_runs_on_the_gpu_and_makes_its_frames_there(tmp_path: Path) -> None:
    """Every rung of `reeltag bench model --profile edge`, and boxes of the last ones as of the first."""
    pytest.importorskip("torch")
    from exporters.bench.device import this_device
    from tests.exporters.bench.test_camera_ladder import assert_rungs_agree, climbed, photographs

    if this_device().place == "CPU":
        if os.environ.get("FAIL_WITHOUT_GPU") == "1":
            pytest.fail(f"FAIL_WITHOUT_GPU=1, and the ladder runs on no GPU here: {this_device().remark}")
        pytest.skip(f"the ladder runs on no GPU here: {this_device().remark}")
    ladder = climbed(photographs(tmp_path))
    assert_rungs_agree(ladder)
    measured = [rung for rung in ladder.rungs if rung.ways]
    assert all("GPU" in rung.runs_in for rung in measured)
    assert measured[-2].name == "+ preallocated, pre-processing on the GPU"
    assert all("0 by OpenCV" in rung.remark for rung in measured[-2:])

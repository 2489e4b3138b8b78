"""The network alone, in every runtime that is here."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from exporters.graphs import compare
from reeltag.errors import InvalidOption, UnknownModel

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")
pytest.importorskip("openvino")

from torch.overrides import TorchFunctionMode  # noqa: E402

from exporters.bench import seminar  # noqa: E402
from exporters.bench.runners import (  # noqa: E402
    OnnxRuntimeRunner,
    Runner,
    TorchRunner,
    onnx_runner,
    openvino_runners,
    plan_runner,
)
from exporters.bench.subject import FromFrames, Subject, network_graph, subject_of  # noqa: E402
from exporters.plans.build import BatchProfile, PlanOptions, build_plan  # noqa: E402
from exporters.publishing.placing import Machine  # noqa: E402
from reeltag.gpu import Runtime  # noqa: E402

NONE = (Runtime("", problem="no NVIDIA GPU"),)


def runners(subject: Subject) -> list[Runner]:
    graph, shape = network_graph(subject, subject.graph), subject.spec.input_shape
    assert subject.network is not None
    return [
        TorchRunner(FromFrames(subject.spec, subject.network)),
        OnnxRuntimeRunner(graph, shape),
        onnx_runner(graph, shape, "cpu"),
        *openvino_runners(graph, shape),
    ]


def answers(runner: Runner, subject: Subject) -> list[npt.NDArray[Any]]:
    runner.frames[:] = compare.sample_frames(subject.spec, 1)
    runner.upload()
    runner.run()
    return runner.answers()


@pytest.mark.parametrize(("name", "size"), [("swiftnet_rn18", (64, 128)), ("yolox_nano", (128, 160))])
def test_what_is_timed_computes_the_same_in_every_runtime(name: str, size: tuple[int, int]) -> None:
    subject = subject_of(name, size=size)
    expected, *others = (answers(runner, subject) for runner in runners(subject))
    assert len(expected) == (2 if name == "swiftnet_rn18" else 3)
    for found in others:
        for one, other in zip(expected, found, strict=True):
            assert one.shape == other.shape
            # A class map may differ in a pixel whose best two classes are equally likely.
            assert (np.abs(one.astype(np.float32) - other) > 1e-2).mean() < 1e-3


def test_answers_are_copies() -> None:
    subject = subject_of("swiftnet_rn18", size=(32, 32))
    for runner in runners(subject):
        kept = answers(runner, subject)
        before = [answer.copy() for answer in kept]
        runner.frames[:] = 255 - runner.frames
        runner.upload()
        runner.run()
        assert all(np.array_equal(one, other) for one, other in zip(before, kept, strict=True))


def test_every_size_has_its_rows_and_its_first_is_what_others_are_compared_with() -> None:
    sizes = [(32, 64), (64, 64)]
    rows = list(seminar.measure("swiftnet_rn18", sizes=sizes, iterations=3, seconds=0.4))
    assert [row.size for row in rows] == [size for size in sizes for _ in range(len(rows) // 2)]
    assert {row.precision for row in rows} == {"fp32", "bf16", "int8"}
    for row in rows:
        assert bool(row.skipped) != bool(row.alone and row.with_transfers)
        assert row.alone is None or row.alone.iterations == 3
    table = seminar.table(rows)
    assert [line["times"] for line in table if line["runtime"] == "PyTorch"] == ["1.00", "1.00"]
    assert "weights: random" in seminar.notes(rows)[0]


def test_a_network_that_was_published_as_onnx_is_compared_with_onnx_runtime() -> None:
    measured = seminar.measure("nanodet_g", iterations=3, seconds=0.2)
    absent, reference = next(measured), next(measured)
    assert "published as ONNX" in absent.skipped
    assert (reference.runtime, bool(reference.alone)) == ("ONNX Runtime", True)


def test_unknown_networks_and_sizes_are_refused() -> None:
    with pytest.raises(UnknownModel, match="yolox_nano"):
        next(seminar.measure("yolox_huge", seconds=1))
    with pytest.raises(InvalidOption, match="32"):
        next(seminar.measure("swiftnet_rn18", sizes=[(100, 100)], seconds=1))
    with pytest.raises(InvalidOption, match="416x416"):
        next(seminar.measure("nanodet_g", sizes=[(32, 32)], seconds=1))


@pytest.mark.parametrize("module", ["tensorrt", "tensorrt_rtx"])
def test_a_plan_answers_what_pytorch_does(module: str) -> None:
    if not torch.cuda.is_available() and os.environ.get("FAIL_WITHOUT_GPU") == "1":
        pytest.fail("FAIL_WITHOUT_GPU=1, and PyTorch finds no NVIDIA GPU")
    problem = next(one.problem for one in Machine.here().runtimes or NONE if one.name in (module, ""))
    if problem:
        pytest.skip(problem)
    subject = subject_of("yolox_nano", size=(128, 160))
    data = network_graph(subject, subject.graph).SerializeToString()
    plan = build_plan(data, PlanOptions(batch=BatchProfile(1, 1, 1)), module=module)
    found = answers(plan_runner(plan, subject.spec.input_shape), subject)
    for one, other in zip(answers(runners(subject)[0], subject), found, strict=True):
        assert np.abs(one - other).max() < 0.05


def test_random_weights_leave_the_generator_alone() -> None:
    state = torch.random.get_rng_state()
    subject_of("swiftnet_rn18", size=(32, 32))
    assert torch.equal(state, torch.random.get_rng_state())


@pytest.mark.parametrize("name", ["swiftnet_rn18", "yolox_nano", "efficientnet_lite0", "transnetv2"])
def test_no_constant_is_copied_to_the_gpu_at_a_call(name: str) -> None:
    """On the device `meta` a tensor of the host meets none of the network's without an error, as on a GPU."""
    size = (64, 160) if name == "swiftnet_rn18" else (128, 160) if name == "yolox_nano" else None
    subject = subject_of(name, size=size)
    if subject.network is None:
        pytest.skip(subject.absence)
    network = FromFrames(subject.spec, subject.network).to("meta").eval()
    frames = torch.zeros((1, *subject.spec.input_shape), dtype=torch.uint8, device="meta")
    with torch.inference_mode():
        network(frames)
        with _NoTensorOfTheHost():
            network(frames)


class _NoTensorOfTheHost(TorchFunctionMode):
    """Refuses what makes a tensor of numbers of the host: on a GPU it is copied there."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        assert function not in (torch.tensor, torch.as_tensor, torch.from_numpy, torch.Tensor.new_tensor)
        return function(*args, **(kwargs or {}))

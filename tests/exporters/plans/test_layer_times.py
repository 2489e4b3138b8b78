"""Per-layer times need a GPU: without one they are skipped, or fail where `FAIL_WITHOUT_GPU=1` says there is one."""

from __future__ import annotations

import os

import pytest

from exporters.catalogue.entries import MODELS
from exporters.plans.build import BatchProfile, PlanOptions, build_plan
from reeltag.errors import InvalidOption, SetupError

torch = pytest.importorskip("torch")
pytest.importorskip("tensorrt_rtx", reason="tensorrt_rtx is not installed (pip install tensorrt-rtx)")

from exporters.graphs import compare  # noqa: E402
from exporters.plans.layer_times import LayerClock, LayerTime, layer_times  # noqa: E402

SPEC = MODELS["efficientnet_lite0"]


@pytest.fixture
def gpu() -> None:
    if not torch.cuda.is_available():
        if os.environ.get("FAIL_WITHOUT_GPU") == "1":
            pytest.fail("FAIL_WITHOUT_GPU=1, and PyTorch finds no NVIDIA GPU")
        pytest.skip("PyTorch finds no NVIDIA GPU")


def test_each_layer_is_timed(gpu: None) -> None:
    options = PlanOptions(BatchProfile(1, 4, 8))
    plan = build_plan(SPEC.onnx_path.read_bytes(), options, module="tensorrt_rtx")
    table = layer_times(plan.data, compare.sample_frames(SPEC, 4), module=plan.module)
    assert len(table) > 1
    assert sum(line.share for line in table) == pytest.approx(1)
    assert all(line.milliseconds >= 0 for line in table)
    with pytest.raises(InvalidOption, match="do not fit the plan's profile"):
        layer_times(plan.data, compare.sample_frames(SPEC, 9), module=plan.module)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so() -> None:
    with pytest.raises(SetupError, match="finds none it can use; run this where the plan will run"):
        layer_times(b"a plan", compare.sample_frames(SPEC, 1))


def test_the_slowest_layer_comes_first() -> None:
    clock = LayerClock()
    for layer, milliseconds in (("a", 1.0), ("b", 4.0), ("a", 3.0), ("b", 8.0)):
        clock.note(layer, milliseconds)
    assert clock.table() == [LayerTime("b", 6.0, 0.75), LayerTime("a", 2.0, 0.25)]

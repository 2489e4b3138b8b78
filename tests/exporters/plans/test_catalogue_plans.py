"""NVIDIA's parser and builder take every network of the catalogue, in every precision; no GPU is needed.

One plan is for several generations of GPU at once. Turing (SM75) has its own: it knows no bfloat16, and TensorRT for
RTX multiplies no float32 matrices on it, as suppression and segmenters do.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import pytest

from exporters.catalogue.entries import CHECKPOINT_MODELS, MODELS, ModelSpec, network
from exporters.plans.build import BatchProfile, PlanOptions, build_plan

onnx = pytest.importorskip("onnx")
torch = pytest.importorskip("torch")
trt: Any = pytest.importorskip("tensorrt_rtx", reason="tensorrt_rtx is not installed (pip install tensorrt-rtx)")

from exporters.graphs import compare  # noqa: E402
from exporters.graphs.body import body_of, simplified  # noqa: E402
from exporters.graphs.compose import IMAGES, compose_graph  # noqa: E402
from exporters.graphs.heads import network_outputs  # noqa: E402
from exporters.graphs.suppression import suppressing  # noqa: E402
from exporters.graphs.tracing import traced  # noqa: E402
from exporters.networks.yolox import YOLOX, HeadMaps  # noqa: E402
from exporters.precision import half, int8  # noqa: E402
from exporters.precision.calibration import CalibrationSet  # noqa: E402
from exporters.precision.convert import PRECISIONS, Precision, convert  # noqa: E402
from exporters.precision.int8 import MINIMUM_PICTURES  # noqa: E402

TARGETS = ("SM80", "SM86", "SM89", "SM120")
"""Ampere of servers and of desktops, Ada, Blackwell."""
FEWER_TARGETS = ("SM86", "SM89")
"""For large networks: each generation of GPU takes its time."""
SIDE = 64
"""Rows and columns of checkpoints' networks here: the graph is the same, and calibration is fast."""
LARGE = 20_000_000
"""Parameters from which on a network takes minutes of a build machine: only with `EVERY_PLAN=1`."""


@dataclass(frozen=True)
class Case:
    """A network of the catalogue, in a form that it can be exported in."""

    name: str
    upsampling: str | None = None

    @property
    def is_large(self) -> bool:
        return self.name in CHECKPOINT_MODELS and CHECKPOINT_MODELS[self.name].parameters > LARGE

    def __str__(self) -> str:
        return "-".join(filter(None, (self.name, self.upsampling)))


EXPORTED = "nanodet_g"
"""Lowered as `reeltag export` does, by what measurements say; that takes longer than the plan."""
CASES = [*(Case(name) for name in (*MODELS, *CHECKPOINT_MODELS)), Case("swiftnet_rn18", "nearest")]


@lru_cache(maxsize=1)  # the cases of a network follow each other
def graph_of(case: Case) -> tuple[ModelSpec, Any]:
    """Its composed graph; weights that come from no checkpoint are random."""
    if case.name in MODELS:
        return MODELS[case.name], onnx.load(MODELS[case.name].onnx_path)
    spec = CHECKPOINT_MODELS[case.name]
    assert spec.view is not None
    view = replace(spec.view, height=SIDE, width=SIDE)
    spec = replace(spec, height=SIDE, width=SIDE, view=view, candidates=50)
    torch.manual_seed(3)
    module = network(case.name, upsampling=case.upsampling)
    example = torch.from_numpy(compare.normalised(spec, compare.sample_frames(spec, 1)))
    bare = HeadMaps(module) if isinstance(module, YOLOX) else module
    return spec, compose_graph(spec, traced(bare, example, IMAGES, network_outputs(spec)))


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_network_becomes_a_plan_in_every_precision(case: Case, precision: Precision) -> None:
    if case.is_large and os.environ.get("EVERY_PLAN") != "1":
        pytest.skip("a large network; EVERY_PLAN=1 builds its plans too")
    spec, graph = lowered(case, precision)
    build(spec, graph, *(FEWER_TARGETS if case.is_large else TARGETS))
    if spec.task == "detect" and (precision == "fp16" or spec.name == EXPORTED):
        build(spec, suppressing(graph))
    if spec.name == EXPORTED and precision in ("fp16", "int8"):
        build(spec, graph, "SM75")


def lowered(case: Case, precision: Precision) -> tuple[ModelSpec, Any]:
    """The network in a precision: as it is exported, or with every node lowered that may be."""
    spec, model = graph_of(case)
    frames = compare.sample_frames(spec, MINIMUM_PICTURES if spec.name == EXPORTED else 1)
    if precision == "fp32" or spec.name == EXPORTED:
        return spec, convert(model, precision, CalibrationSet(frames), method="min-max")[0]
    simple = simplified(model)
    body = body_of(simple)
    assert len(body.nodes) > 20
    if precision == "int8":
        inner = [node for node in body.weighted if node not in body.heads]
        return spec, int8.quantized(simple, inner, frames, "min-max")
    return spec, half.lowered(simple, body.nodes, half.FP16 if precision == "fp16" else half.BF16)


def build(spec: ModelSpec, graph: Any, *targets: str) -> None:
    options = PlanOptions(BatchProfile(1, 4, 4), input_shape=spec.input_shape, targets=targets or TARGETS)
    plan = build_plan(graph.SerializeToString(), options, module="tensorrt_rtx")
    assert (plan.module, plan.version, plan.strongly_typed) == ("tensorrt_rtx", trt.__version__, True)
    weights = sum(len(tensor.raw_data) for tensor in graph.graph.initializer)
    assert len(plan.data) > weights / 3

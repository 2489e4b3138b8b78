"""NVIDIA's parser and builder take every graph; TensorRT for RTX builds engines without a GPU."""

from __future__ import annotations

from typing import Any

import pytest

from exporters.catalog import MODELS

trt: Any = pytest.importorskip("tensorrt_rtx", reason="tensorrt_rtx is not installed (pip install tensorrt-rtx)")


@pytest.mark.parametrize("name", list(MODELS))
def test_an_engine_is_built(name: str) -> None:
    spec = MODELS[name]
    logger = trt.Logger(trt.Logger.ERROR)
    builder = trt.Builder(logger)
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, logger)
    parsed = parser.parse(spec.onnx_path.read_bytes())
    assert parsed, [parser.get_error(i).desc() for i in range(parser.num_errors)]
    config = builder.create_builder_config()
    config.num_compute_capabilities = 1
    config.set_compute_capability(trt.ComputeCapability.SM89, 0)
    profile = builder.create_optimization_profile()
    profile.set_shape("FRAMES", *((batch, *spec.input_shape) for batch in (1, 4, spec.max_batch_size)))
    config.add_optimization_profile(profile)
    assert network.get_input(0).dtype == trt.DataType.UINT8
    assert builder.build_serialized_network(network, config) is not None

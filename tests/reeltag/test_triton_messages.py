"""What goes to Triton is the message that protobuf itself would write."""

from __future__ import annotations

import numpy as np
import pytest
from tritonclient.grpc import service_pb2

from reeltag.triton_messages import Array, SharedTensor, answer_tensors, request_message

SIZES = (0, 1, 127, 128, 16_383, 16_384, 300_000)
"""Around those at which the length before a content takes one more byte."""


def _sent(name: str, value: Array | SharedTensor) -> service_pb2.ModelInferRequest:
    encoded = request_message(
        "detect", {name: value}, ["ERROR", "BOXES"], version="7", request_id="r1", timeout_microseconds=5
    )
    return service_pb2.ModelInferRequest.FromString(encoded)


def test_request_says_what_is_asked() -> None:
    request = _sent("IMAGE", np.array([[b"a"], [b"bcd"]], np.object_))
    assert (request.model_name, request.model_version, request.id) == ("detect", "7", "r1")
    assert [output.name for output in request.outputs] == ["ERROR", "BOXES"]
    assert request.parameters["timeout"].int64_param == 5
    (tensor,) = request.inputs
    assert (tensor.name, tensor.datatype, list(tensor.shape)) == ("IMAGE", "BYTES", [2, 1])
    assert list(request.raw_input_contents) == [b"\1\0\0\0a\3\0\0\0bcd"]


@pytest.mark.parametrize("size", SIZES)
def test_content_of_any_length_arrives(size: int) -> None:
    pixels = np.arange(size, dtype=np.uint8)
    assert list(_sent("FRAMES", pixels).raw_input_contents) == [pixels.tobytes()]
    file = pixels.tobytes()
    elements = np.empty((1, 1), np.object_)
    elements[0, 0] = file
    assert list(_sent("IMAGE", elements).raw_input_contents) == [size.to_bytes(4, "little") + file]


def test_content_is_in_the_order_of_its_axes() -> None:
    turned = np.arange(6, dtype=np.float32).reshape(2, 3).T
    request = _sent("X", turned)
    assert request.inputs[0].datatype == "FP32"
    assert list(request.raw_input_contents) == [np.ascontiguousarray(turned).tobytes()]


def test_shared_tensor_is_named_and_not_sent() -> None:
    request = _sent("FRAMES", SharedTensor("ring", 64, (2, 3), "FP32"))
    (tensor,) = request.inputs
    said = {name: value.string_param or value.int64_param for name, value in tensor.parameters.items()}
    assert said == {"shared_memory_region": "ring", "shared_memory_byte_size": 24, "shared_memory_offset": 64}
    assert not request.raw_input_contents


def test_answer_is_read() -> None:
    answer = service_pb2.ModelInferResponse()
    answer.outputs.add(name="SCORES", datatype="FP32", shape=[1, 2])
    answer.outputs.add(name="ERROR", datatype="BYTES", shape=[1, 1])
    answer.outputs.add(name="BOXES", datatype="FP32", shape=[1, 0, 4])
    answer.raw_output_contents.extend([np.array([0.5, 0.25], np.float32).tobytes(), b"\2\0\0\0no", b""])
    tensors = answer_tensors(answer)
    assert tensors["SCORES"].tolist() == [[0.5, 0.25]]
    assert tensors["ERROR"].tolist() == [[b"no"]]
    assert tensors["BOXES"].shape == (1, 0, 4)

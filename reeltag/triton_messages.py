"""Tensors to the message of an inference and back; what is large is copied once.

A batch of encoded images is megabytes. tritonclient copies it four times before gRPC has it: into an array of the
protocol's form, out of it, into a message, and out of that. Here the message is made without the tensors' content,
which is put behind it as what it is, the last field of the message's encoding.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from tritonclient.grpc import service_pb2
from tritonclient.utils import deserialize_bytes_tensor, np_to_triton_dtype, triton_to_np_dtype

Array = npt.NDArray[Any]

METHOD: Final = "/inference.GRPCInferenceService/ModelInfer"
answer_of: Final = service_pb2.ModelInferResponse.FromString
"""The answer from its encoding."""
_BYTES: Final = "BYTES"
_LENGTH_DELIMITED: Final = 2
"""Wire type of a field with a length; see https://protobuf.dev/programming-guides/encoding."""
_CONTENT: Final = service_pb2.ModelInferRequest.DESCRIPTOR.fields_by_name["raw_input_contents"].number
_CONTENT_TAG: Final = bytes([_CONTENT << 3 | _LENGTH_DELIMITED])
_ELEMENT: Final = struct.Struct("<I")
"""Length of an element of a BYTES tensor, before each."""


@dataclass(frozen=True)
class SharedTensor:
    """A tensor in a system shared-memory region that was registered with the server (`register_shared_memory`)."""

    region: str
    """Name under which the region was registered."""
    byte_offset: int
    """Of the tensor's first byte in the region."""
    shape: tuple[int, ...]
    """With the batch axis."""
    dtype: str = "UINT8"
    """Triton's name of the element type."""

    @property
    def byte_size(self) -> int:
        """Bytes that the tensor takes."""
        return math.prod(self.shape) * np.dtype(triton_to_np_dtype(self.dtype)).itemsize


def request_message(
    model: str,
    inputs: Mapping[str, Array | SharedTensor],
    outputs: Sequence[str],
    *,
    version: str,
    request_id: str,
    timeout_microseconds: int,
) -> bytes:
    """The encoding of a `ModelInferRequest`.

    Args:
        model: Name of a model or ensemble.
        inputs: Tensors with their batch axis, by name; BYTES as object arrays of `bytes`.
        outputs: Names of the wanted tensors.
        version: Of the model; the newest where it is empty.
        request_id: Of the request.
        timeout_microseconds: What the models are told.
    """
    request = service_pb2.ModelInferRequest(model_name=model, model_version=version, id=request_id)
    request.parameters["timeout"].int64_param = timeout_microseconds
    parts: list[Any] = [b""]
    for name, value in inputs.items():
        if isinstance(value, SharedTensor):
            tensor = request.inputs.add(name=name, datatype=value.dtype, shape=value.shape)
            tensor.parameters["shared_memory_region"].string_param = value.region
            tensor.parameters["shared_memory_byte_size"].int64_param = value.byte_size
            if value.byte_offset:
                tensor.parameters["shared_memory_offset"].int64_param = value.byte_offset
        else:
            request.inputs.add(name=name, datatype=np_to_triton_dtype(value.dtype), shape=value.shape)
            parts += _content(value)
    for name in outputs:
        request.outputs.add(name=name)
    parts[0] = request.SerializeToString()
    return b"".join(parts)


def answer_tensors(answer: Any) -> dict[str, Array]:
    """The tensors of a `ModelInferResponse` with their batch axis, by name; those of numbers cannot be written to."""
    return {
        output.name: _array(content, output.datatype).reshape(tuple(output.shape))
        for output, content in zip(answer.outputs, answer.raw_output_contents, strict=True)
    }


def _content(array: Array) -> list[Any]:
    """The field of one tensor's content, in parts."""
    if array.dtype != np.object_:
        content = np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
        return [_CONTENT_TAG, _varint(len(content)), content]
    elements = array.reshape(-1).tolist()
    parts: list[Any] = [_CONTENT_TAG, _varint(sum(_ELEMENT.size + len(element) for element in elements))]
    for element in elements:
        parts += (_ELEMENT.pack(len(element)), element)
    return parts


def _varint(value: int) -> bytes:
    return bytes(_sevenths(value))


def _sevenths(value: int) -> Iterator[int]:
    while value > 0x7F:
        yield value & 0x7F | 0x80
        value >>= 7
    yield value


def _array(content: bytes, datatype: str) -> Array:
    if datatype == _BYTES:
        elements: Array = deserialize_bytes_tensor(content)
        return elements
    return np.frombuffer(content, triton_to_np_dtype(datatype))

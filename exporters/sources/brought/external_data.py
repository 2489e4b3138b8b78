"""Reads the weights that an ONNX file keeps in other files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import onnx
from onnx import GraphProto, ModelProto, NodeProto, TensorProto

from exporters.sources import filetypes
from reeltag.errors import InputError


def with_external_data(path: Path, model: ModelProto) -> ModelProto:
    """The model with all weights in memory.

    Args:
        path: Of the ONNX file; the others are where it says, in its folder or below.
        model: As it was read from there.

    Raises:
        InputError: A file is missing, a link, outside the folder or too short; the text says which.
    """
    needed: dict[str, int] = {}
    for tensor in _tensors(model):
        if tensor.data_location == TensorProto.EXTERNAL:
            said = {entry.key: entry.value for entry in tensor.external_data}
            name = said.get("location", "")
            end = int(said.get("offset") or 0) + int(said.get("length") or 0)
            needed[name] = max(needed.get(name, 0), end)
    if not needed:
        return model
    # Where the ONNX file is a link to one with its weights beside it, that folder counts.
    folders = (path.parent, path.resolve().parent)
    folder = next((one for one in folders if all((one / name).is_file() for name in needed)), path.parent)
    for name, size in sorted(needed.items()):
        if problem := _problem(folder, name, size):
            raise InputError(f"{path} keeps its weights in {name}, which {problem}")
    try:
        onnx.load_external_data_for_model(model, str(folder))
    except Exception as error:  # onnx raises its own type for a damaged file
        raise InputError(f"the external data of {path} cannot be read ({error!s:.300}); export it again") from error
    return model


def _problem(folder: Path, name: str, size: int) -> str:
    """Why a file of weights cannot be read, and what to do."""
    file = folder / name
    if Path(name).is_absolute() or ".." in Path(name).parts:
        return "is not in its folder or below it; copy it there, and export or save the network anew with that place"
    if not file.is_file():
        return "is not there beside it; copy that file, too, under this name"
    on_the_way = [file, *(folder / part for part in Path(name).parents if part.name)]
    if any(part.is_symlink() for part in on_the_way) or file.stat().st_nlink > 1:
        return "is a link there, and onnx reads no links; copy the file itself to that place"
    if file.stat().st_size < size:
        kind = filetypes.kind_of(file) if file.stat().st_size else ""
        found = f"is {kind}" if kind else f"has {file.stat().st_size} of the {size} bytes that are needed"
        return f"{found}; copy or download that file again"
    return ""


def _tensors(model: ModelProto) -> Iterator[TensorProto]:
    yield from _graph_tensors(model.graph)
    for function in model.functions:
        yield from _node_tensors(function.node)


def _graph_tensors(graph: GraphProto) -> Iterator[TensorProto]:
    yield from graph.initializer
    yield from _node_tensors(graph.node)


def _node_tensors(nodes: Iterable[NodeProto]) -> Iterator[TensorProto]:
    for node in nodes:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
            for subgraph in (attribute.g, *attribute.graphs):
                yield from _graph_tensors(subgraph)

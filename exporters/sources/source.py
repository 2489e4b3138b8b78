"""What an artefact is made from: a composed graph in float32, and the same answered by other means to check it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx
from onnx import ModelProto

from exporters.catalogue.entries import ModelSpec, model_spec
from exporters.files import sha256_of
from exporters.graphs import compare
from exporters.graphs.compare import Reference
from exporters.graphs.compose import bare_network
from reeltag.contract import CLASS_MAP, FRAMES
from reeltag.errors import InvalidOption, SetupError


@dataclass(frozen=True)
class Source:
    """A network in float32 before a precision and a runtime are chosen."""

    spec: ModelSpec
    graph: ModelProto
    """Composed: from `FRAMES` to the tensors that are served."""
    reference: Reference
    """The network as its owner runs it, with decoding in NumPy."""
    origin: str
    """The user's file, or for people where the weights come from."""
    sha256: str
    """Of the file with the weights."""
    notes: str = ""
    """What was found out about a user's network, for people."""

    def agreement(self) -> str:
        """How closely the graph answers what the reference does, for people.

        Raises:
            SetupError: They disagree.
        """
        frames = compare.sample_frames(self.spec, 1 if self.spec.task == "shots" else 4)
        found = compare.run_onnx(self.graph, {FRAMES: frames})
        answer = found[CLASS_MAP] if CLASS_MAP in found else next(iter(found.values()))
        return compare.check_agreement(self.spec, self.reference(frames), answer)


def bundled_source(name: str) -> Source:
    """A network that comes with reeltag.

    Args:
        name: In `entries.MODELS`.

    Raises:
        UnknownModel: The catalogue has no such network.
        InvalidOption: It comes without weights; the text says where there are some.
        SetupError: Its file is missing.
    """
    spec = model_spec(name)
    if spec.source == "checkpoint":
        raise InvalidOption(_without_weights(spec))
    if not spec.onnx_path.is_file():
        raise SetupError(f"{spec.onnx_path} is missing; restore it from the repository of reeltag")
    graph = onnx.load(spec.onnx_path)
    if spec.head == "cuts":

        def reference(frames: npt.NDArray[np.uint8]) -> compare.Floats:
            return next(iter(compare.run_onnx(graph, {FRAMES: frames}).values()))

        return Source(spec, graph, reference, spec.provenance, sha256_of(spec.onnx_path))
    reference_of_network = compare.onnx_reference(spec, bare_network(spec, graph))
    return Source(spec, graph, reference_of_network, spec.provenance, sha256_of(spec.onnx_path))


def _without_weights(spec: ModelSpec) -> str:
    """Where a checkpoint of it can be had."""
    lacks, given = f"{spec.name} comes without weights", f"reeltag export {spec.name} --checkpoint FILE"
    if spec.published:
        return (
            f"{lacks}. Published ones ({spec.licence}) are at {spec.published}; to fetch and export them: "
            f"reeltag export {spec.name} --download; to export your own: {given}"
        )
    if spec.published_at:
        return f"{lacks}. Its authors link to theirs at {spec.published_at}; give them, or your own: {given}"
    return f"{lacks}, and published ones are not known; give your own: {given}"

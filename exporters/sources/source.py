"""What an artefact is made from: a composed graph in float32, and the same answered by other means to check it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import ModelProto

from exporters.catalogue.entries import ModelSpec, model_spec
from exporters.files import sha256_of
from exporters.graphs import compare
from exporters.graphs.compare import Reference
from exporters.graphs.compose import bare_network
from exporters.graphs.exact import in_float32
from exporters.graphs.scenes import scenes
from exporters.sources.names import check_own_name
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
    exact: Reference | None = None
    """The reference without the rounding of a network that computes in float16."""
    is_its_reference: bool = False
    """Whether `reference` runs `graph` itself, for want of another way to the same answers."""

    def named(self, name: str) -> Source:
        """The same under a name of the user's, so that several of one network can be served side by side.

        Raises:
            InvalidOption: As `check_own_name`.
        """
        if name == self.spec.name:
            return self
        check_own_name(name)
        return replace(self, spec=replace(self.spec, name=name, network=self.spec.name))

    def agreement(self, pictures: npt.NDArray[np.uint8] | None = None) -> str:
        """How closely the graph answers what the reference does, for people.

        Compared are the first pictures on which the reference finds something: of those that are given, then of random
        colours, then drawn scenes.

        Args:
            pictures: uint8 `(N, *input_shape)`, like those to come.

        Raises:
            SetupError: They disagree.
        """
        if self.is_its_reference:
            return "it is what comes with reeltag, so that there is nothing to compare it with"
        frames, expected, kind = self.telling_frames(pictures)
        found = _answer(self.graph, frames)
        if self.exact is None:
            said = compare.check_agreement(self.spec, expected, found)
        else:
            exact = self.exact(frames)
            compare.check_agreement(self.spec, exact, _answer(in_float32(self.graph), frames))
            said = compare.check_agreement(self.spec, expected, found, exact=exact)
        return f"{said} ({len(frames)} {kind})"

    def telling_frames(
        self, pictures: npt.NDArray[np.uint8] | None = None
    ) -> tuple[npt.NDArray[np.uint8], compare.Floats, str]:
        """The first frames on which the reference finds something, or the last ones that there are.

        Args:
            pictures: As of `agreement`.

        Returns:
            The frames, what the reference answers to them, and for people what they are.
        """
        count, what = (1, "window") if self.spec.task == "shots" else (4, "pictures")
        given = [] if pictures is None else np.array_split(pictures, -(-len(pictures) // count))
        random, drawn = compare.sample_frames(self.spec, count), scenes(self.spec)
        for frames, kind in (*((own, "of your") for own in given), (random, "random"), (drawn, "drawn")):
            expected = self.reference(frames)
            looked_at = (frames, expected, f"{kind} {what}")
            if compare.finds_something(self.spec, expected):
                break
        return looked_at


def _answer(graph: ModelProto, frames: npt.NDArray[np.uint8]) -> npt.NDArray[Any]:
    """The first of what is served; of a segmenter the class map."""
    found = compare.run_onnx(graph, {FRAMES: frames})
    return found[CLASS_MAP] if CLASS_MAP in found else next(iter(found.values()))


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

        return Source(spec, graph, reference, spec.provenance, sha256_of(spec.onnx_path), is_its_reference=True)
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

"""A network as it is served: the file that a runtime takes, and what is known of it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final, Literal

from exporters.catalogue.entries import ModelSpec
from exporters.files import sha256_of
from exporters.publishing.configs import LABELS_FILE
from exporters.publishing.passport import Passport
from reeltag import __version__
from reeltag.contract import ModelCard
from reeltag.errors import ModelRepositoryError

GRAPH_FILE: Final = "model.onnx"
"""In the version's folder of a network: the composed graph."""
PLAN_FILE: Final = "model.plan"
"""In the version's folder of a network: the TensorRT plan."""
PLAN_SOURCE_FILE: Final = "graph.onnx"
"""Of a network's folder with a plan: the graph that it is rebuilt from."""
REFERENCE_FILE: Final = "reference.npz"
"""Of a network's folder: some frames and what it answered to them when it was exported."""
_BF16_CPU_FLAGS: Final = {"avx512_bf16", "amx_bf16"}


@dataclass(frozen=True)
class Artefact:
    """A network as it is served."""

    spec: ModelSpec
    """Its input, labels and view; the name of its folder."""
    file: Path
    """An ONNX graph from `FRAMES` to the task's tensors, or a TensorRT plan made of one."""
    passport: Passport
    graph: Path | None = None
    """Of a plan: the graph that it was built from."""
    published: ModelCard | None = None
    """Of one in a model repository: the card that it carries there."""
    reference: Path | None = None
    """Some frames and what it answered to them when it was exported, see `publishing.reference`."""

    @property
    def files(self) -> dict[str, Path | bytes]:
        """By path in the network's folder, the file to copy, or its content; raises as `card`."""
        is_plan = self.passport.runtime == "tensorrt"
        served = f"{self.card.version}/{PLAN_FILE if is_plan else GRAPH_FILE}"
        files: dict[str, Path | bytes] = {served: self.file}
        if is_plan and self.graph:
            files[PLAN_SOURCE_FILE] = self.graph
        if self.reference:
            files[REFERENCE_FILE] = self.reference
        if self.spec.labels:
            files[LABELS_FILE] = "".join(f"{label}\n" for label in self.spec.labels).encode()
        return files

    @property
    def openvino_precision(self) -> Literal["bf16", "f32"]:
        """What OpenVINO computes in wherever the graph leaves it the choice, in its own words: `bf16` or `f32`."""
        return "bf16" if self.passport.precision in ("bf16", "int8") and cpu_has_bf16() else "f32"

    @cached_property
    def card(self) -> ModelCard:
        """What clients must know of it.

        Raises:
            ModelRepositoryError: Its file is missing or damaged.
        """
        option = {"checkpoint": " --checkpoint FILE", "own": " --onnx FILE"}.get(self.spec.source, "")
        network = f" --network {self.spec.network}" if self.spec.network else ""
        again = f"run: reeltag export {self.spec.name}{network}{option}"
        if not self.file.is_file():
            raise ModelRepositoryError(f"{self.file} is missing; {again}")
        digest = sha256_of(self.file)
        if self.passport.file_sha256 not in ("", digest):
            raise ModelRepositoryError(f"{self.file} is not what was exported: it was changed or damaged; {again}")
        card = ModelCard(
            network=self.spec.name,
            task=self.spec.task,
            height=self.spec.height,
            width=self.spec.width,
            window_frames=self.spec.window_frames or None,
            view=self.spec.view.name if self.spec.view else "",
            labels=self.spec.labels,
            groups=self.spec.groups,
            colours=self.spec.colours,
            runtime=self.passport.runtime,
            precision=self.passport.precision,
            sha256=digest,
            passport_sha256=self.passport.sha256,
            measured=self.passport.measured,
        )
        return card.numbered()

    @property
    def damage(self) -> str:
        """Why its file cannot be served anywhere; empty where it is whole."""
        try:
            _ = self.card
        except ModelRepositoryError as error:
            return str(error)
        return ""


def bundled_artefact(spec: ModelSpec) -> Artefact:
    """What comes with reeltag, run by OpenVINO in bfloat16 where the CPU computes in it."""
    digest = sha256_of(spec.onnx_path) if spec.onnx_path.is_file() else ""
    passport = Passport(
        source=spec.provenance,
        source_sha256=digest,
        parameters=spec.parameters,
        licence=spec.licence,
        reeltag_version=__version__,
        runtime="openvino",
        precision="bf16" if cpu_has_bf16() else "fp32",
    )
    return Artefact(spec, spec.onnx_path, passport)


def cpu_has_bf16() -> bool:
    """Whether this CPU computes in bfloat16.

    Its own flags are read because importing OpenVINO to ask it takes longer than all the rest.
    """
    try:
        words = set(Path("/proc/cpuinfo").read_text("utf-8").split())
    except OSError:  # not Linux
        return False
    return bool(words & _BF16_CPU_FLAGS)

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import onnx
from onnx import ModelProto

from exporters.catalogue.entries import ModelSpec
from exporters.files import sha256_of
from exporters.publishing.artefact import Artefact
from exporters.publishing.passport import Passport


def artefact_of(spec: ModelSpec, model: ModelProto, folder: Path, precision: str = "fp32") -> Artefact:
    """A graph as it would be published."""
    file = folder / "network.onnx"
    onnx.save(model, file)
    passport = Passport(
        source="test", file_sha256=sha256_of(file), exported=True, runtime="openvino", precision=precision
    )
    return Artefact(spec, file, passport)


def elsewhere(artefact: Artefact) -> Artefact:
    """The same for a runtime that no server has here, so that its graph alone is measured, which is quicker."""
    return replace(artefact, passport=artefact.passport.model_copy(update={"runtime": "onnxruntime"}))

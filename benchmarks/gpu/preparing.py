"""Fills the model repository that the other parts serve: what comes with reeltag, and the network that is measured."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.gpu.setting import ACCURATE, Said, Setting
from exporters.catalogue.entries import MODELS

if TYPE_CHECKING:
    from exporters.publishing.artefact import Artefact


def run(setting: Setting) -> Said:
    """Publish both."""
    from exporters.publishing.exported import artefacts_in  # noqa: PLC0415
    from exporters.publishing.placing import Machine, notices, places  # noqa: PLC0415  # torch is imported once it is due
    from exporters.publishing.repository import publish  # noqa: PLC0415

    said = Said()
    publish(setting.repository)
    wanted = [ACCURATE, setting.network] if setting.on_gpu else [setting.network]
    for name in dict.fromkeys(name for name in wanted if setting.on_gpu or name not in MODELS):
        with tempfile.TemporaryDirectory() as folder:
            artefact = _artefact(setting, name, Path(folder))
            publish(setting.repository, [artefact])
        said.notes.append(f"{artefact.spec.name}: {artefact.passport.precision}, nms {artefact.passport.nms}")
    machine = Machine.here()
    found, problems = places(artefacts_in(setting.repository), machine)
    said.notes += [*notices(found, machine), *(f"{name}: {problem}" for name, problem in problems.items())]
    for runtime in machine.runtimes:
        said.notes.append(f"{runtime.name} {runtime.version}: {runtime.problem or 'runs networks on the GPU'}")
    return said


def _artefact(setting: Setting, network: str, folder: Path) -> Artefact:
    """In fp16 with suppression in the graph on a GPU; as its authors publish it for the CPU."""
    from exporters.bench.subject import subject_of  # noqa: PLC0415
    from exporters.files import sha256_of  # noqa: PLC0415
    from exporters.graphs.compare import sample_frames  # noqa: PLC0415
    from exporters.graphs.suppression import suppressing  # noqa: PLC0415
    from exporters.precision.calibration import CalibrationSet  # noqa: PLC0415
    from exporters.precision.convert import convert  # noqa: PLC0415
    from exporters.publishing.artefact import Artefact  # noqa: PLC0415
    from exporters.publishing.passport import Passport  # noqa: PLC0415

    subject = subject_of(network)
    precision = "fp16" if setting.on_gpu else "fp32"
    graph = subject.graph
    if setting.on_gpu:
        graph = suppressing(convert(graph, "fp16", CalibrationSet(sample_frames(subject.spec, 4)))[0])
    file = folder / "model.onnx"
    file.write_bytes(graph.SerializeToString())
    passport = Passport(
        exported=True,
        runtime="onnxruntime" if setting.on_gpu else "openvino",
        precision=precision,
        nms="engine" if setting.on_gpu else "python",
        file_sha256=sha256_of(file),
        source=subject.weights,
    )
    # Beside the bundled one of the same name, which accuracy is measured with.
    name = f"{network}_gpu" if setting.on_gpu else network
    return Artefact(replace(subject.spec, name=name, network=network), file, passport)

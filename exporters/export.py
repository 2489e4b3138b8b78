"""Exports a catalogue entry: a bundled graph from its published weights, or one for serving from a checkpoint."""

from __future__ import annotations

import importlib
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from exporters import packages
from exporters.catalog import ModelSpec, model_spec
from exporters.files import write_atomically
from exporters.repository import default_repository, publish
from reeltag.contract import CUTS, FRAMES
from reeltag.errors import InvalidOption, SetupError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import torch
    from onnx import ModelProto

    from exporters.compare import Floats, Reference

_OPSET: Final = 15
"""The newest that TensorRT 8.5 takes whole, and that of the ONNX source."""


def export(name: str, *, target: Path | None = None, onnx_file: Path | None = None) -> str:
    """Export a network, compare it with its source, replace the bundled graph and publish it.

    Args:
        name: In the catalogue.
        target: Model repository to publish to; `default_repository` without it.
        onnx_file: For a network that was published as ONNX, its file; without it the network is taken back out of
            the bundled graph.

    Returns:
        What was written and how closely it agrees with its source, for people.

    Raises:
        UnknownModel: The catalogue has no such network.
        InvalidOption: `onnx_file` for a network that was not published as ONNX.
        SetupError: torch or onnx is missing, a package cannot be fetched, or the graph disagrees with its source.
        OutputError: The bundled graph cannot be written.
        ModelRepositoryError: The model repository cannot be written.
    """
    spec = model_spec(name)
    if spec.source == "checkpoint":
        raise InvalidOption(f"{name} is exported from a checkpoint; give it: reeltag export {name} --checkpoint FILE")
    if onnx_file is not None and spec.source != "onnx":
        raise InvalidOption(f"{name} is not exported from an ONNX file; leave the file out: its weights are fetched")
    try:
        data, agreement = _exported(spec, onnx_file)
    except ModuleNotFoundError as error:
        raise SetupError(f"exporting needs {error.name}; run: pip install 'reeltag[export]'") from error
    write_atomically(spec.onnx_path, data)
    written = publish(target or default_repository(), [name])
    done = f"published {', '.join(written)}" if written else "the model repository has it already"
    return f"{name}: {len(data) / 1e6:.1f} MB, {agreement}; {done}"


def _exported(spec: ModelSpec, onnx_file: Path | None) -> tuple[bytes, str]:
    """The ONNX file's bytes, and how closely it agrees with its source."""
    from exporters import compare, graph  # noqa: PLC0415  # onnx is not installed where models are only served

    network, reference = _torch_source(spec) if spec.source == "torch" else _onnx_source(spec, onnx_file)
    model = graph.store_as_half(graph.compose_graph(spec, network))
    frames = compare.sample_frames(spec, 1 if spec.task == "shots" else 4)
    (found,) = compare.run_onnx(model, {FRAMES: frames}).values()
    return model.SerializeToString(deterministic=True), compare.check_agreement(spec, reference(frames), found)


def _onnx_source(spec: ModelSpec, onnx_file: Path | None) -> tuple[ModelProto, Reference]:
    import onnx  # noqa: PLC0415

    from exporters import compare, graph  # noqa: PLC0415

    if onnx_file is None:
        if not spec.onnx_path.is_file():
            raise SetupError(f"{spec.onnx_path} is missing; restore it from the repository of reeltag")
        network = graph.bare_network(spec, onnx.load(spec.onnx_path))
    else:
        # Read by the network's own file, because publishers differ in what they put behind it.
        network = _module(spec).load_onnx(onnx_file)
    return network, compare.onnx_reference(spec, network)


def _torch_source(spec: ModelSpec) -> tuple[ModelProto, Reference]:
    import torch  # noqa: PLC0415

    from exporters import compare  # noqa: PLC0415
    from exporters.graph import IMAGES  # noqa: PLC0415
    from exporters.heads import LOGITS  # noqa: PLC0415

    folders = {p.name: packages.fetch(p.name, p.version, p.sha256) for p in spec.packages}
    module = _module(spec).load(folders)
    frames = compare.sample_frames(spec, 1)
    whole = spec.head == "cuts"

    def answer(pictures: npt.NDArray[np.uint8]) -> Floats:
        inputs = pictures if whole else compare.normalised(spec, pictures)
        with torch.inference_mode():
            output: Floats = module(torch.from_numpy(inputs)).numpy()
        return output if whole else compare.softmax(output)

    example = torch.from_numpy(frames if whole else compare.normalised(spec, frames))
    names = (FRAMES, CUTS) if whole else (IMAGES, LOGITS)
    return traced(module, example, names[0], [names[1]]), answer


def _module(spec: ModelSpec) -> Any:
    return importlib.import_module(f"exporters.networks.{spec.module}")


def traced(module: torch.nn.Module, example: torch.Tensor, input_name: str, output_names: list[str]) -> ModelProto:
    """The ONNX graph of a torch module, with any batch size."""
    import onnx  # noqa: PLC0415
    import torch  # noqa: PLC0415

    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        # The exporter that traces is deprecated, but the new one cannot write opset 15.
        warnings.simplefilter("ignore")
        path = Path(folder) / "network.onnx"
        torch.onnx.export(
            module,
            (example,),
            path,
            dynamo=False,
            opset_version=_OPSET,
            input_names=[input_name],
            output_names=output_names,
            dynamic_axes={name: {0: "batch"} for name in (input_name, *output_names)},
        )
        return onnx.load(path)

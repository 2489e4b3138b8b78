"""Plans as artefacts: built from a graph that stays beside them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from exporters.files import sha256_of
from exporters.plans.build import PlanOptions, build_plan
from exporters.plans.tensorrt_api import RTX_TARGETS, ModuleName
from exporters.progress import Progress
from exporters.publishing.artefact import Artefact
from exporters.publishing.passport import PlanBuild, find_gpu, jetson_build
from reeltag import __version__


def planned(
    artefact: Artefact,
    options: PlanOptions,
    folder: Path,
    *,
    builder: ModuleName = "tensorrt",
    progress: Progress | None = None,
) -> Artefact:
    """Build the plan of an artefact whose file is a graph.

    Args:
        artefact: Its `file` is the graph, in the precision that the plan is to have.
        options: Of the plan; its largest batch is always that of the model repository.
        folder: To write the plan into.
        builder: Module that builds it; Triton runs no plans of `tensorrt_rtx`.
        progress: Told of the builder's steps.

    Raises:
        SetupError: TensorRT or a GPU is missing, or the builder failed.
        InputError: TensorRT cannot take the graph.
        InvalidOption: An option outside its range, or that this module does not have.
        OutputError: A file cannot be written.
        KeyboardInterrupt: Ctrl-C was pressed; nothing was written.
    """
    spec = artefact.spec
    options = replace(options, batch=options.batch.at_most(spec.max_batch_size), input_shape=spec.input_shape)
    if builder == "tensorrt_rtx" and not options.targets:
        options = replace(options, targets=RTX_TARGETS)
    plan = build_plan(artefact.file.read_bytes(), options, module=builder, progress=progress)
    file = folder / "model.plan"
    plan.write(file)
    build = PlanBuild(
        module=builder,
        version=plan.version,
        gpu=None if options.targets else find_gpu(),
        targets=options.targets,
        batch_sizes=options.batch.sizes,
        workspace_bytes=options.workspace_bytes,
        dla_core=options.dla_core,
        device=jetson_build(),
    )
    said = {
        "runtime": "tensorrt",
        "plan": build,
        "file_sha256": sha256_of(file),
        "reeltag_version": __version__,
        "measured": None,
    }
    spec = replace(artefact.spec, max_batch_size=options.batch.largest)
    return Artefact(spec, file, artefact.passport.model_copy(update=said), artefact.file)

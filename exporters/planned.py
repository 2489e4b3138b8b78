"""Plans as artefacts: built from a graph that stays beside them, and built anew where they cannot run."""

from __future__ import annotations

import importlib.metadata
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from exporters.artefact import Artefact
from exporters.exported import artefacts_in
from exporters.files import sha256_of
from exporters.passport import PlanBuild, find_gpu
from exporters.plan import BatchProfile, PlanOptions, build_plan
from exporters.progress import Progress
from exporters.repository import check_artefact, publish
from reeltag import __version__
from reeltag.errors import InvalidOption, ModelRepositoryError

Builder = Literal["tensorrt", "tensorrt_rtx"]


def planned(
    artefact: Artefact,
    options: PlanOptions,
    folder: Path,
    *,
    builder: Builder = "tensorrt",
    progress: Progress | None = None,
) -> Artefact:
    """Build the plan of an artefact whose file is a graph.

    Args:
        artefact: Its `file` is the graph, in the precision that the plan is to have.
        options: Of the plan; its largest batch is always that of the model repository.
        folder: To write the plan into.
        builder: Module that builds it; plans of `tensorrt_rtx` are not for Triton.
        progress: Told of the builder's steps.

    Raises:
        SetupError: TensorRT or a GPU is missing, or the builder failed.
        InputError: TensorRT cannot take the graph.
        InvalidOption: An option outside its range, or that this module does not have.
        OutputError: A file cannot be written.
        KeyboardInterrupt: Ctrl-C was pressed; nothing was written.
    """
    options = replace(options, batch=options.batch.at_most(artefact.spec.max_batch_size))
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


def rebuild_stale(target: Path, names: Sequence[str] = (), *, progress: Progress | None = None) -> list[str]:
    """Build the plans of a repository anew that cannot run here, each from the graph beside it.

    Args:
        target: Model repository.
        names: Of networks in it; all with a plan without any.
        progress: Told of the builder's steps.

    Returns:
        Names of the networks whose plans were rebuilt.

    Raises:
        InvalidOption: A network that is named has no plan there.
        ModelRepositoryError: The graph beside a plan is missing.
        SetupError: TensorRT or a GPU is missing, or the builder failed.
    """
    plans = {artefact.spec.name: artefact for artefact in artefacts_in(target) if artefact.passport.plan}
    if unknown := [name for name in names if name not in plans]:
        raise InvalidOption(f"{unknown[0]} has no plan in {target}; these have: {', '.join(plans) or 'none'}")
    stale = [plans[name] for name in names or plans if _is_stale(plans[name])]
    for artefact in stale:
        _rebuild(artefact, target, progress)
    return [artefact.spec.name for artefact in stale]


def _is_stale(artefact: Artefact) -> bool:
    try:
        check_artefact(artefact, find_gpu(), tensorrt_version=installed_version(artefact))
    except ModelRepositoryError:
        return True
    return False


def installed_version(artefact: Artefact) -> str | None:
    """Of the module that built an artefact's plan, as it is here; none where it is not."""
    module = artefact.passport.plan.module if artefact.passport.plan else "tensorrt"
    try:
        return importlib.metadata.version(module.replace("_", "-"))
    except importlib.metadata.PackageNotFoundError:
        return None


def _rebuild(artefact: Artefact, target: Path, progress: Progress | None) -> None:
    build = artefact.passport.plan
    assert build is not None
    if artefact.graph is None:
        raise ModelRepositoryError(
            f"the graph beside the plan of {artefact.spec.name} is missing; export it again from its source"
        )
    options = PlanOptions(
        batch=BatchProfile(*build.batch_sizes),
        workspace_bytes=build.workspace_bytes,
        dla_core=build.dla_core,
        targets=build.targets,
    )
    with tempfile.TemporaryDirectory() as folder:
        source = replace(artefact, file=artefact.graph, graph=None)
        publish(target, [planned(source, options, Path(folder), builder=build.module, progress=progress)])

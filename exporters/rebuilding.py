"""Plans of a repository built anew where they cannot run, each from the graph beside it."""

from __future__ import annotations

import importlib.metadata
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from exporters.plans.build import BatchProfile, PlanOptions
from exporters.plans.planned import planned
from exporters.progress import Progress
from exporters.publishing.artefact import Artefact
from exporters.publishing.exported import artefacts_in
from exporters.publishing.passport import find_gpu
from exporters.publishing.repository import replace_published
from exporters.publishing.serving import check_artefact
from reeltag.errors import InvalidOption, ModelRepositoryError


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
    return [artefact.spec.name for artefact in stale if _rebuild(artefact, target, progress)]


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


def _rebuild(artefact: Artefact, target: Path, progress: Progress | None) -> bool:
    """Whether the new plan was put there: not where another network has taken that place while it was built."""
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
        plan = planned(source, options, Path(folder), builder=build.module, progress=progress)
        return replace_published(target, plan, of=artefact.passport)

"""`reeltag export`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reeltag.commands.common import RepositoryOption, phases, progress, repository_at, results, table_of
from reeltag.commands.export_options import GateOptions, PlanPanel, PrecisionOptions
from reeltag.commands.panels import with_panels
from reeltag.commands.source_options import SourceOptions
from reeltag.errors import InvalidOption, SetupError

if TYPE_CHECKING:
    from exporters.export import ExportReport
    from exporters.publishing.artefact import Artefact


@with_panels
def export(
    source: SourceOptions,
    precision: PrecisionOptions,
    gate: GateOptions,
    plan: PlanPanel,
    name: Annotated[
        str | None, typer.Argument(help="A network of the catalogue, see `reeltag models`; or a name for yours.")
    ] = None,
    default: Annotated[
        bool, typer.Option("--default", help="Answer its task where another network was exported before.")
    ] = False,
    model_repository: RepositoryOption = None,
) -> None:
    """Make a served model of a network: verify, lower its precision, measure what that loses, publish."""
    target = repository_at(model_repository)
    try:
        if plan.rebuild_stale:
            _rebuild(name, target)
            return
        if source.task == "text":
            results.print(_text(name, source, target), markup=False, soft_wrap=True)
            return
        report = _exported(name, source, precision, gate, plan, target, is_default=default)
    except ModuleNotFoundError as error:
        raise SetupError(f"exporting needs {error.name}; run: pip install 'reeltag[export]'") from error
    except KeyboardInterrupt:
        progress.print("interrupted: nothing was published")
        raise
    _print(report)
    _go_live(report.artefact.spec.name, target)
    if plan.layers:
        _print_layers(report.artefact, target)


def _exported(
    name: str | None,
    wanted: SourceOptions,
    precision: PrecisionOptions,
    gate: GateOptions,
    plan: PlanPanel,
    target: Path,
    *,
    is_default: bool,
) -> ExportReport:
    from exporters.export import ExportOptions
    from exporters.export import export as export_source

    if name is None:
        raise InvalidOption("name the network to export; `reeltag models` lists them")
    making = precision.making(plan.options(precision.chosen_runtime, precision.profile))
    with phases() as tell:
        fetched = wanted.fetched(name, tell)
    if fetched is not None:
        progress.print(f"{fetched.address} is in {fetched.file}", markup=False, soft_wrap=True)
    with progress.status(f"reading {name}"):
        source = wanted.source(name, fetched)
    if source.notes:
        progress.print(source.notes, markup=False, soft_wrap=True)
    options = ExportOptions(
        making,
        precision.calibration,
        gate.annotated(source.spec.task),
        gate.max_drop,
        is_fastest_wanted=precision.is_fastest_wanted,
        is_default=is_default,
    )
    with phases() as tell:
        return export_source(source, options, target=target, progress=tell)


def _text(name: str | None, source: SourceOptions, target: Path) -> str:
    if name is None:
        raise InvalidOption("name the text recogniser")
    return source.text(name, target)


def _go_live(name: str, target: Path) -> None:
    """Let the servers that run for the repository serve it; where one refuses it, it is taken out again."""
    from exporters.publishing.repository import withdraw
    from reeltag.commands.live import bring_all

    for server in bring_all(target, None, lambda fresh: name in fresh and withdraw(target, name)):
        results.print(f"{name} is served at {server.url}", markup=False, soft_wrap=True)


def _rebuild(name: str | None, target: Path) -> None:
    from exporters.rebuilding import rebuild_stale

    with phases() as tell:
        rebuilt = rebuild_stale(target, [name] if name else [], progress=tell)
    results.print(f"rebuilt {', '.join(rebuilt)}" if rebuilt else "no plan is stale", markup=False)


def _print_layers(artefact: Artefact, target: Path) -> None:
    from exporters.graphs.compare import sample_frames
    from exporters.plans.layer_times import layer_times
    from exporters.publishing.exported import artefacts_in

    built = artefact.passport.plan
    assert built is not None
    _, usual, _ = built.batch_sizes
    (published,) = (one for one in artefacts_in(target) if one.spec.name == artefact.spec.name)
    plan = published.file.read_bytes()
    times = layer_times(plan, sample_frames(artefact.spec, usual), module=built.module)
    rows = [{"layer": one.layer, "ms": f"{one.milliseconds:.3f}", "share": f"{one.share:.1%}"} for one in times]
    results.print(table_of(f"\nlayers of the plan, batches of {usual}", rows))


def _print(report: ExportReport) -> None:
    kept = report.precision.kept_fp32
    if kept:
        rows = [{"stays in fp32": one.node, "operator": one.operator, "because it": one.reason} for one in kept]
        results.print(table_of("", rows))
    if report.gate:
        losses = report.gate.losses
        metrics = " and ".join(one.metric for one in losses.by_metric())
        title = f"\n{metrics} on {losses.pictures} pictures; {losses.tensors}"
        results.print(table_of(title, losses.rows()))
    if len(report.speeds) > 1:
        slowest = report.speeds[-1].images_per_second
        rows = [
            {
                "precision": one.precision,
                "images/s": f"{one.images_per_second:.1f}",
                "of the slowest": f"{one.images_per_second / slowest:.2f}",
                "published": "yes" if one.precision == report.artefact.passport.precision else "no",
            }
            for one in report.speeds
        ]
        results.print(table_of("\nspeed of the network on this machine, measured in turns", rows))
    for reason in report.refused:
        progress.print(reason, markup=False, soft_wrap=True)
    results.print(str(report), markup=False, soft_wrap=True)

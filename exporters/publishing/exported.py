"""What a model repository says of the networks in it."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace
from pathlib import Path

from google.protobuf import text_format  # type: ignore[import-untyped,unused-ignore]  # without types-protobuf

from exporters.catalogue.entries import CHECKPOINT_MODELS, MODELS, ModelSpec
from exporters.publishing.artefact import GRAPH_FILE, PLAN_FILE, PLAN_SOURCE_FILE, REFERENCE_FILE, Artefact
from exporters.publishing.configs import ModelConfig
from exporters.publishing.folders import CONFIG_FILE
from exporters.publishing.passport import PASSPORT_FILE, Passport, read_passport
from reeltag.contract import CANDIDATES, CARD_PARAMETER, SHOTS_ENSEMBLE, ModelCard, Task
from reeltag.errors import ModelRepositoryError
from reeltag.triton_connection import model_config_pb2


def artefacts_in(target: Path, *, replaced: Collection[str] = ()) -> list[Artefact]:
    """The networks of a repository as they were published; of each task the one that serves it first.

    Args:
        target: The repository.
        replaced: Names of those that are left out, because others take their place.

    Raises:
        ModelRepositoryError: The passport of a network that a user exported is missing or damaged.
    """
    first = serving(target)
    known = [*MODELS, *CHECKPOINT_MODELS]

    def turn(artefact: Artefact) -> tuple[int, bool, int, str]:
        name = artefact.spec.name
        place = known.index(name) if name in known else len(known)
        return -artefact.passport.turn, name not in first, place, name

    return sorted(_artefacts(target, replaced), key=turn)


def serving(target: Path) -> list[str]:
    """Names of the networks behind a repository's ensembles."""
    ensembles = [*(task.value for task in Task), SHOTS_ENSEMBLE]
    configs = [config for name in ensembles if (config := _read_config(target / name)) is not None]
    return [card.network for config in configs if (card := _card(config))]


def ensembles_of(target: Path, network: str) -> list[Path]:
    """Folders of the ensembles that run a network."""
    configs = {folder: _read_config(folder) for folder in target.iterdir() if folder.is_dir()}
    return [
        folder
        for folder, config in configs.items()
        if config is not None and any(step.model_name == network for step in config.ensemble_scheduling.step)
    ]


def _artefacts(target: Path, replaced: Collection[str]) -> Iterator[Artefact]:
    for folder in sorted({file.parent for name in (PASSPORT_FILE, CONFIG_FILE) for file in target.glob(f"*/{name}")}):
        if folder.name not in replaced and (found := artefact_at(folder, folder.name)) is not None:
            yield found


def artefact_at(folder: Path, name: str) -> Artefact | None:
    """The network that a folder holds under this name, as it was published; None where it holds none.

    Raises:
        ModelRepositoryError: Its passport is missing or damaged.
    """
    config = _read_config(folder)
    card = _card(config)
    try:
        passport = read_passport(folder)
    except ModelRepositoryError:
        if card and card.network == name and name not in MODELS:
            raise
        return None  # what came with reeltag is published anew; what is somebody else's is left alone
    if card is None or card.network != name:
        return None
    file = folder / card.version / (PLAN_FILE if passport.runtime == "tensorrt" else GRAPH_FILE)
    if not file.is_file() and not passport.exported:
        return None
    graph, reference = folder / PLAN_SOURCE_FILE, folder / REFERENCE_FILE
    return Artefact(
        _spec(config, card, passport),
        file,
        passport.model_copy(update={"fingerprint": ""}),
        graph if graph.is_file() else None,
        published=card,
        reference=reference if reference.is_file() else None,
    )


def _spec(config: ModelConfig, card: ModelCard, passport: Passport) -> ModelSpec:
    """Of a network as it was exported: with its own size, view and labels."""
    spec = (MODELS | CHECKPOINT_MODELS).get(passport.network or card.network) or ModelSpec(
        name=card.network,
        task=card.task,
        source="own",
        module="",
        head="none",
        height=card.height,
        width=card.width,
        parameters=passport.parameters,
        licence=passport.licence,
        provenance=passport.source,
    )
    candidates = [output.dims[0] for output in config.output if output.name == CANDIDATES]
    return replace(
        spec,
        name=card.network,
        network=passport.network,
        height=card.height,
        width=card.width,
        view=card.frames_view() if card.view else None,
        candidates=candidates[0] if candidates else spec.candidates,
        max_batch_size=config.max_batch_size,
        is_final=passport.nms == "network",
        names=card.labels,
        groups_file=spec.groups_file if card.groups else "",
        colours=card.colours,
    )


def _card(config: ModelConfig | None) -> ModelCard | None:
    text = config.parameters[CARD_PARAMETER].string_value if config is not None else ""
    try:
        return ModelCard.model_validate_json(text) if text else None
    except ValueError:  # of another version of reeltag, or edited by hand
        return None


def _read_config(folder: Path) -> ModelConfig | None:
    """None for a folder that is not there, or damaged."""
    try:
        return text_format.Parse((folder / CONFIG_FILE).read_text("utf-8"), model_config_pb2.ModelConfig())
    except (OSError, ValueError, text_format.ParseError):
        return None

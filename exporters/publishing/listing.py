"""What `reeltag models` says: the networks of the catalogue and of a repository, and which of them serves each task."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from exporters.catalogue.entries import CHECKPOINT_MODELS, MODELS
from exporters.publishing.exported import artefacts_in
from exporters.publishing.folders import CONFIG_FILE
from exporters.publishing.passport import Passport
from exporters.publishing.placing import places
from reeltag.contract import SHOTS_ENSEMBLE, Task

TASKS: Final = (*(task.value for task in Task), SHOTS_ENSEMBLE)
"""All that networks can do."""


@dataclass(frozen=True)
class ListedModel:
    """A network that can be exported, or was."""

    name: str
    network: str
    """In the catalogue, of one that has a name of the user's; empty otherwise."""
    task: str
    input: str
    """Such as `512x1024`, rows x columns in pixels."""
    parameters: int
    """How many weights it has."""
    size_bytes: int
    """Of the exported graph; 0 where it is missing."""
    licence: str
    in_repository: bool
    """Whether the repository has its folder."""
    needs_checkpoint: bool
    """Whether it is exported from a checkpoint that the user brings."""
    passport: Passport | None
    """Of what is in the repository."""
    serves: bool
    """Whether `reeltag serve` answers its task with it where no model is named."""
    by_name: bool
    """Whether `reeltag serve` answers its task with it where it is named."""
    why_not: str
    """Why it does not, where it is in the repository."""


def listing(target: Path) -> list[ListedModel]:
    """The networks of the catalogue and of a repository, and which of them serves each task.

    That is the first one that can be served here: of those in the repository, and behind them of those that come with
    reeltag, because each start of a server adds them.
    """
    artefacts = artefacts_in(target)
    there = {artefact.spec.name: artefact for artefact in artefacts}
    damages = {artefact.spec.name: artefact.damage for artefact in artefacts if artefact.damage}
    problems = places(artefacts)[1] | damages
    first: dict[str, str] = {}
    for spec in (*(artefact.spec for artefact in artefacts), *MODELS.values()):
        if spec.name not in problems:
            first.setdefault(spec.task, spec.name)
    listed = []
    for name, spec in (MODELS | CHECKPOINT_MODELS | {name: artefact.spec for name, artefact in there.items()}).items():
        is_there, serving = name in there, first.get(spec.task, "")
        file = there[name].file if is_there else spec.onnx_path
        why_not = "" if name == serving else problems.get(name) or f"{serving} is the default"
        listed.append(
            ListedModel(
                name=name,
                network=spec.network,
                task=spec.task,
                input=f"{spec.height}x{spec.width}",
                parameters=spec.parameters,
                size_bytes=file.stat().st_size if file.is_file() else 0,
                licence=spec.licence,
                in_repository=(target / name / CONFIG_FILE).is_file(),
                needs_checkpoint=spec.source == "checkpoint",
                passport=there[name].passport if is_there else None,
                serves=name == serving,
                by_name=is_there and name not in problems and spec.task != SHOTS_ENSEMBLE,
                why_not=why_not if is_there else "",
            )
        )
    return listed

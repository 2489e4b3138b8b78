"""Fills the model repository that Triton serves, one folder at a time and each of them atomically.

All that is decided from what a repository holds is decided under its lock: of two exports at once the second one sees
what the first one published.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from exporters.catalogue.entries import MODELS, model_spec
from exporters.publishing.artefact import Artefact, bundled_artefact
from exporters.publishing.contents import BACKENDS, default_repository, network_folder, task_folders
from exporters.publishing.exported import artefact_at, artefacts_in, ensembles_of
from exporters.publishing.folders import CONFIG_FILE, PREVIOUS, ModelFolder, is_interrupted, locked, recover_all
from exporters.publishing.passport import Passport, read_passport, turn_in
from reeltag.errors import ModelRepositoryError, UnknownModel

__all__ = ["NotWritable", "check_target", "default_repository", "publish", "replace_published"]

_WITHDRAWN: Final = ".reeltag-withdrawn-"
_FORBIDDEN: Final = (errno.EACCES, errno.EPERM, errno.EROFS)


class NotWritable(ModelRepositoryError):
    """A repository that is not up to date and may not be written, by this user or at all."""

    def __init__(self, message: str, stale: Sequence[str]) -> None:
        super().__init__(message)
        self.stale = tuple(stale)
        """Names of the folders that are not up to date, as far as they are known."""


def publish(target: Path, names: Sequence[str | Artefact] | None = None, *, beside: bool = False) -> list[str]:
    """Bring a model repository up to date; does nothing where it is.

    Networks that were published before stay, and serve their ensembles until others are named; folders that are not
    reeltag's are left alone.

    Args:
        target: The repository; made where it is missing.
        names: Networks of the catalogue or of the repository, or what was just exported; without it all that come with
            reeltag. Of several with one task the first serves its ensembles.
        beside: Leave the defaults of the tasks to those that were exported before; what is exported again keeps its
            place.

    Returns:
        Names of the model folders that were written.

    Raises:
        UnknownModel: A name is neither in the catalogue nor in the repository.
        NotWritable: The repository may not be written; nothing was changed.
        ModelRepositoryError: A folder cannot be written, or a source is missing; what was served before still is.
    """
    if not target.exists():
        _folders(_chosen(target, names), target)  # what cannot be published makes no folder
    return _brought_up(target, lambda: _chosen(target, names, beside=beside))


def replace_published(target: Path, artefact: Artefact, *, of: Passport) -> bool:
    """Put an artefact in the place of the one that it was made from, in its turn.

    Args:
        target: The repository.
        artefact: What to put there.
        of: Passport of the one that it was made from.

    Returns:
        Whether it was put there; not where another one has taken that place.

    Raises:
        ModelRepositoryError: A folder cannot be written; what was served before still is.
    """
    name, found = artefact.spec.name, False

    def chosen() -> list[Artefact]:
        nonlocal found
        there = {one.spec.name: one for one in _chosen(target, [])}
        found = name in there and there[name].passport.sha256 == of.sha256
        if found:
            there[name] = _with_turn(artefact, there[name].passport.turn)
        return list(there.values())

    _brought_up(target, chosen)
    return found


def roll_back(target: Path, name: str) -> Passport:
    """Put the version of a network in its place that was published before it, and keep this one as that; its passport.

    Raises:
        UnknownModel: The repository has no such network.
        ModelRepositoryError: There is no earlier version, or a folder cannot be written.
    """
    check_there(target, name)
    before = artefact_at(target / name / PREVIOUS, name)
    if before is None:
        raise ModelRepositoryError(
            f"{target} has no earlier version of {name}; one is kept when a new one takes its place"
        )
    publish(target, [before], beside=True)
    return before.passport


def withdraw(target: Path, name: str) -> bool:
    """Undo what was published last under this name: the version before is there again, with the one before it.

    Returns:
        Whether there was one; else the network is gone from the repository.

    Raises:
        ModelRepositoryError: A folder cannot be written.
    """
    with locked(target):
        path = target / name
        gone = path.with_name(f"{_WITHDRAWN}{name}")
        shutil.rmtree(gone, ignore_errors=True)
        was_there = (path / PREVIOUS).is_dir()
        path.rename(gone)
        if was_there:
            (gone / PREVIOUS).rename(path)
            os.utime(path / CONFIG_FILE)  # Triton loads what is newer than what it has
        shutil.rmtree(gone)
        if not was_there:
            for folder in ensembles_of(target, name):
                shutil.rmtree(folder)
    publish(target, [])
    return was_there


def make_default(target: Path, name: str) -> list[str]:
    """Let a network of the repository answer its task where none is named; raises as `publish` and `check_there`."""
    check_there(target, name)
    return publish(target, [name])


def check_there(target: Path, name: str) -> None:
    """See that a repository has a network.

    Raises:
        UnknownModel: It has not; the text names those that it has.
    """
    there = sorted(artefact.spec.name for artefact in artefacts_in(target))
    if name not in there:
        raise UnknownModel(f"{target} has no network {name!r}; it has: {', '.join(there) or 'none'}")


def check_target(target: Path) -> None:
    """Refuse what cannot be published into, before something is made that takes minutes.

    Raises:
        ModelRepositoryError: It is there, and no folder; or it cannot be written.
    """
    if target.exists() and not target.is_dir():
        raise ModelRepositoryError(f"{target} is no folder; name one for the model repository, or one to be made")
    there = next(folder for folder in (target, *target.absolute().parents) if folder.exists())
    if not os.access(there, os.W_OK | os.X_OK):
        raise ModelRepositoryError(f"{there} cannot be written; name another folder with --model-repository")


def _brought_up(target: Path, choose: Callable[[], list[Artefact]]) -> list[str]:
    """Write those of the folders that are not current, and give their names."""
    stale: list[ModelFolder] = []
    try:
        target.mkdir(parents=True, exist_ok=True)
        with locked(target, shared=True):  # so that servers which start at once do not wait for each other
            if not is_interrupted(target) and not _stale(choose(), target):
                return []
        with locked(target):
            recover_all(target)
            stale = _stale(choose(), target)
            for folder in stale:
                folder.replace(target)
    except OSError as error:
        message = f"the model repository {target} cannot be written ({error}); what was there is still served"
        if error.errno in _FORBIDDEN:
            raise NotWritable(message, [folder.name for folder in stale]) from error
        raise ModelRepositoryError(message) from error
    return [folder.name for folder in stale]


def _stale(artefacts: Sequence[Artefact], target: Path) -> list[ModelFolder]:
    return [folder for folder in _folders(artefacts, target) if not folder.is_current(target)]


def _folders(artefacts: Sequence[Artefact], target: Path) -> list[ModelFolder]:
    """Everything that serving these networks takes."""
    cards = {artefact.spec.name: artefact.card for artefact in artefacts}
    backends = [name for name in BACKENDS if (target / name).is_dir()]
    return [*map(network_folder, artefacts), *task_folders(artefacts, cards, backends)]


def _chosen(target: Path, names: Sequence[str | Artefact] | None, *, beside: bool = False) -> list[Artefact]:
    """What a repository should hold, those that serve their tasks first: what is named, then what is there."""
    replaced = [name.spec.name for name in names or () if isinstance(name, Artefact)]
    there = {artefact.spec.name: artefact for artefact in artefacts_in(target, replaced=replaced)}

    def artefact_of(name: str) -> Artefact:
        old = there.get(name)
        if old is not None and old.passport.exported:
            return old
        renewed = bundled_artefact(model_spec(name))
        return _with_turn(renewed, old.passport.turn) if old else renewed

    named = [name if isinstance(name, Artefact) else artefact_of(name) for name in names or ()]
    if beside:
        named = _behind_others(named, there, target)
    bundled = [artefact_of(name) for name in MODELS] if names is None else []
    unique: dict[str, Artefact] = {}
    for artefact in (*_in_turn(named, there, target), *map(artefact_of, there), *bundled):
        unique.setdefault(artefact.spec.name, artefact)
    return list(unique.values())


def _behind_others(named: Sequence[Artefact], there: dict[str, Artefact], target: Path) -> list[Artefact]:
    """With the networks of their tasks that were exported before, in the order in which they serve them."""
    ordered: list[tuple[int, Artefact]] = []
    for artefact in named:
        others = [one for one in there.values() if one.passport.exported and one.spec.task == artefact.spec.task]
        ordered += [(one.passport.turn, one) for one in others]
        try:
            before = read_passport(target / artefact.spec.name)
        except ModelRepositoryError:
            before = Passport()
        ordered.append((before.turn if before.exported else 0, artefact))
    return [artefact for _, artefact in sorted(ordered, key=lambda one: -one[0])]


def _in_turn(named: Sequence[Artefact], there: dict[str, Artefact], target: Path) -> list[Artefact]:
    """With turns before which no other of their tasks comes, and of each other in this order."""
    turns = {(artefact.spec.task, name): artefact.passport.turn for name, artefact in there.items()}
    turns |= {(artefact.spec.task, artefact.spec.name): turn_in(target / artefact.spec.name) for artefact in named}
    placed = []
    for artefact in reversed(named):
        own = (artefact.spec.task, artefact.spec.name)
        others = [turn for (task, name), turn in turns.items() if task == own[0] and name != own[1]]
        if turns[own] <= max(others, default=0):
            turns[own] = max(turns.values()) + 1
        placed.append(_with_turn(artefact, turns[own]))
    return placed[::-1]


def _with_turn(artefact: Artefact, turn: int) -> Artefact:
    return replace(artefact, passport=artefact.passport.model_copy(update={"turn": turn}))

"""What the server that comes with reeltag can serve of a repository, and what it is given to serve it from."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from exporters.publishing.artefact import Artefact
from exporters.publishing.contents import task_folders
from exporters.publishing.exported import artefacts_in
from exporters.publishing.folders import CONFIG_FILE, ModelFolder, locked
from exporters.publishing.passport import PASSPORT_FILE, Gpu, check_servable, find_gpu
from exporters.publishing.repository import NotWritable, publish
from reeltag.embedded.changing import unloaded_in
from reeltag.errors import ModelRepositoryError

EMBEDDED_RUNTIME: Final = "openvino"
"""What the server that comes with reeltag runs networks in."""
_OTHERWISE: Final = f"export it with --runtime {EMBEDDED_RUNTIME}"
_NAMED_STALE: Final = 3


@dataclass(frozen=True)
class Prepared:
    """A repository that nobody changes until a server has loaded it."""

    link: Callable[[Path], None]
    """Fills a folder with links to what is to be served of the repository as it then is; for each start of a server.
    The repository stays as it is for servers elsewhere: where networks are left out here, the folder gets ensembles of
    its own."""
    names: frozenset[str]
    """Of the models that are served."""
    notices: tuple[str, ...]
    """What a person should know: which networks are left out and why, what is not up to date."""
    release: Callable[[], None]
    """Lets others publish again; to be called once the server has loaded its models."""


@contextmanager
def prepared(target: Path) -> Iterator[Prepared]:
    """Bring a repository up to date, where it may be written, and leave out what cannot be served here.

    Raises:
        ModelRepositoryError: A folder cannot be written, a file is damaged, or nothing can be served here.
    """
    notices = _brought_up(target)
    with ExitStack() as until_loaded:
        until_loaded.enter_context(locked(target, shared=True))
        share = Share.of(target)
        notices += share.notices
        if not share.names:
            raise ModelRepositoryError("; ".join([f"nothing in {target} can be served here", *notices]))

        def link(folder: Path) -> None:
            with locked(target, shared=True):
                Share.of(target, without=unloaded_in(folder.parent)).link(folder)

        yield Prepared(link, frozenset(share.names), tuple(notices), until_loaded.close)


@dataclass(frozen=True)
class Share:
    """What is served of a repository here."""

    target: Path
    names: tuple[str, ...]
    """Of the models; none where no network can be served."""
    around: dict[str, ModelFolder]
    """What stands around the networks that are served, by name."""
    notices: tuple[str, ...]
    """Why others are left out."""
    networks: dict[str, Artefact]
    """Those that are served, by name; of each task the default first."""

    @classmethod
    def of(cls, target: Path, *, without: Collection[str] = (), everywhere: bool = False) -> Share:
        """What the embedded server serves of a repository, or any server that runs everything.

        Args:
            target: The repository.
            without: Names of networks that are not to be served.
            everywhere: Whether nothing is left out that cannot run here.

        Raises:
            ModelRepositoryError: A passport is missing or damaged.
        """
        artefacts = [artefact for artefact in artefacts_in(target) if artefact.spec.name not in without]
        problems = {} if everywhere else problems_of(artefacts)
        notices = tuple(f"{name} is left out: {problem}" for name, problem in problems.items())
        here = [artefact for artefact in artefacts if artefact.spec.name not in problems]
        if not here:
            return cls(target, (), {}, notices, {})
        # As they were published, so that the ensembles name the versions that are there.
        cards = {artefact.spec.name: artefact.published or artefact.card for artefact in here}
        around = {made.name: made for made in task_folders(here, cards)}
        networks = {artefact.spec.name: artefact for artefact in here}
        return cls(target, (*cards, *around, *_others(target)), around, notices, networks)

    def link(self, folder: Path, names: Sequence[str] | None = None) -> None:
        """Put models into a folder, in which they are not: all, or some of them."""
        for name in self.names if names is None else names:
            if name in self.around and not self.around[name].is_current(self.target):
                self.around[name].write(folder / name)
            else:
                (folder / name).symlink_to((self.target / name).resolve())


def problems_of(artefacts: Sequence[Artefact]) -> dict[str, str]:
    """Why networks of a repository cannot be served by the server that comes with reeltag, by name.

    Whether their files are whole is not looked at.
    """
    gpu = find_gpu() if any(artefact.passport.plan for artefact in artefacts) else None
    problems = {artefact.spec.name: _problem_of(artefact, gpu) for artefact in artefacts}
    return {name: problem for name, problem in problems.items() if problem}


def _problem_of(artefact: Artefact, gpu: Gpu | None) -> str:
    problems = []
    try:
        _check_plan(artefact, gpu)
    except ModelRepositoryError as error:
        problems.append(str(error))
    runtime, plan = artefact.passport.runtime, artefact.passport.plan
    if plan is not None and plan.module == "tensorrt_rtx":
        problems.append(f"it is a plan of TensorRT for RTX, which no server runs yet; {_OTHERWISE}")
    elif runtime != EMBEDDED_RUNTIME:
        problems.append(
            f"it runs in {runtime}, which NVIDIA's Triton container has and the server that comes with reeltag has "
            f"not; name such a server with --triton-url HOST:PORT, or {_OTHERWISE}"
        )
    return "; ".join(problems)


def check_artefact(artefact: Artefact, gpu: Gpu | None, *, tensorrt_version: str | None = None) -> None:
    """Refuse an artefact that cannot run here.

    Args:
        artefact: In a model repository.
        gpu: Of this machine.
        tensorrt_version: Of the TensorRT that would serve it; none where it is not known.

    Raises:
        ModelRepositoryError: A plan for another TensorRT or GPU, or a file that is missing or damaged.
    """
    if artefact.damage:
        raise ModelRepositoryError(artefact.damage)
    _check_plan(artefact, gpu, tensorrt_version)


def _check_plan(artefact: Artefact, gpu: Gpu | None, tensorrt_version: str | None = None) -> None:
    name = artefact.spec.name
    rebuild = f"reeltag export {name} --rebuild-stale"
    check_servable(artefact.passport, name=name, tensorrt_version=tensorrt_version, gpu=gpu, rebuild=rebuild)


def _brought_up(target: Path) -> list[str]:
    """Notices: what is not up to date where nothing may be written."""
    try:
        publish(target)
    except NotWritable as error:
        if not any(target.glob(f"*/{CONFIG_FILE}")):
            raise
        named = ", ".join(error.stale[:_NAMED_STALE]) + (" and others" if len(error.stale) > _NAMED_STALE else "")
        return [f"{target} cannot be written and is served as it is; not up to date: {named or 'perhaps'}"]
    return []


def _others(target: Path) -> list[str]:
    """Names of the models that are not reeltag's."""
    configs = target.glob(f"*/{CONFIG_FILE}")
    return sorted(config.parent.name for config in configs if not (config.parent / PASSPORT_FILE).exists())

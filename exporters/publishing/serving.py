"""What the server that comes with reeltag can serve of a repository, and what it is given to serve it from."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from exporters.publishing.artefact import Artefact
from exporters.publishing.configs import Gpus
from exporters.publishing.contents import network_folder, task_folders
from exporters.publishing.exported import artefacts_in
from exporters.publishing.folders import CONFIG_FILE, ModelFolder, locked
from exporters.publishing.passport import PASSPORT_FILE, Gpu, check_servable
from exporters.publishing.placing import Machine, Place, notices, places
from exporters.publishing.repository import NotWritable, publish
from reeltag.embedded.changing import unloaded_in
from reeltag.errors import ModelRepositoryError

WITHOUT_GPU: Final = "without-gpu"
"""File in an embedded server's folder that says why it uses no GPU, though one may be here."""
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
    uses_gpu: bool = False
    """Whether a network runs on the GPU."""


@contextmanager
def prepared(target: Path, machine: Callable[[], Machine] = Machine.here) -> Iterator[Prepared]:
    """Bring a repository up to date, where it may be written, and leave out what cannot be served here.

    Args:
        target: The repository.
        machine: What networks run on; asked before each start of a server, because a GPU can go away.

    Raises:
        ModelRepositoryError: A folder cannot be written, a file is damaged, or nothing can be served here.
    """
    said = _brought_up(target)
    with ExitStack() as until_loaded:
        until_loaded.enter_context(locked(target, shared=True))
        share = Share.of(target, machine=machine())
        said += share.notices
        if not share.names:
            raise ModelRepositoryError("; ".join([f"nothing in {target} can be served here", *said]))

        def link(folder: Path) -> None:
            here = machine()
            if here.gpu_is_refused:
                (folder.parent / WITHOUT_GPU).write_text(here.cuda.problem, "utf-8")
            with locked(target, shared=True):
                Share.of(target, without=unloaded_in(folder.parent), machine=here).link(folder)

        uses_gpu = any(place.engine for place in share.places.values())
        yield Prepared(link, frozenset(share.names), tuple(said), until_loaded.close, uses_gpu)


@dataclass(frozen=True)
class Share:
    """What is served of a repository here."""

    target: Path
    names: tuple[str, ...]
    """Of the models; none where no network can be served."""
    around: dict[str, ModelFolder]
    """What stands around the networks that are served, and those of them that run otherwise than they were published,
    by name."""
    notices: tuple[str, ...]
    """Why others are left out, and which run otherwise than they were exported."""
    networks: dict[str, Artefact]
    """Those that are served, by name and as they are; of each task the default first."""
    places: dict[str, Place]
    """Where they run."""

    @classmethod
    def of(
        cls,
        target: Path,
        *,
        without: Collection[str] = (),
        everywhere: bool = False,
        machine: Machine | None = None,
    ) -> Share:
        """What the embedded server serves of a repository, or any server that runs everything.

        Args:
            target: The repository.
            without: Names of networks that are not to be served.
            everywhere: Whether nothing is left out that cannot run here, and all run as they were published.
            machine: Of the embedded server; this one without it.

        Raises:
            ModelRepositoryError: A passport is missing or damaged.
        """
        artefacts = [artefact for artefact in artefacts_in(target) if artefact.spec.name not in without]
        found = {artefact.spec.name: Place(artefact) for artefact in artefacts}
        said: list[str] = []
        if not everywhere:
            machine = machine or Machine.here()
            found, problems = places(artefacts, machine)
            said = [f"{name} is left out: {problem}" for name, problem in problems.items()]
            said += notices(found, machine)
        here = [place.artefact for place in found.values()]
        if not here:
            return cls(target, (), {}, tuple(said), {}, {})
        # As they were published, so that the ensembles name the versions that are there.
        cards = {artefact.spec.name: artefact.published or artefact.card for artefact in here}
        gpus: Gpus | None = None if everywhere else "first" if any(place.engine for place in found.values()) else "none"
        around = {made.name: made for made in task_folders(here, cards, gpus=gpus)}
        for name, place in found.items():
            if not place.is_as_published and not everywhere:
                around[name] = network_folder(place.artefact, engine=place.engine)
        networks = {artefact.spec.name: artefact for artefact in here}
        names = (*dict.fromkeys((*cards, *around)), *_others(target))
        return cls(target, names, around, tuple(said), networks, found)

    def link(self, folder: Path, names: Sequence[str] | None = None) -> None:
        """Put models into a folder, in which they are not: all, or some of them."""
        for name in self.names if names is None else names:
            if name in self.around and not self.around[name].is_current(self.target):
                self.around[name].write(folder / name)
            else:
                (folder / name).symlink_to((self.target / name).resolve())


def machine_of(folder: Path) -> Machine:
    """What the embedded server whose folder this is runs networks on."""
    try:
        return Machine.without_gpu((folder / WITHOUT_GPU).read_text("utf-8"))
    except OSError:
        return Machine.here()


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

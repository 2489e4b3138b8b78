"""Brings a running server to what its repository holds: loads what is new beside what is served, compares, exchanges.

A version that is new is first loaded under another name, where nobody asks it, and compared with what it answered when
it was exported. What fails is never served, and is taken back out of the repository.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from google.protobuf import text_format  # type: ignore[import-untyped,unused-ignore]  # without types-protobuf

from exporters.publishing import reference
from exporters.publishing.artefact import Artefact
from exporters.publishing.folders import CONFIG_FILE, locked
from exporters.publishing.repository import check_there
from exporters.publishing.serving import Share, machine_of
from reeltag.contract import CARD_PARAMETER, FRAMES, SMALL_IMAGE, Task
from reeltag.embedded.changing import MODELS, UNLOADED, changing, folder_of, retire, unloaded_in
from reeltag.errors import ImageRejected, InvalidOption, ModelRejected, ReeltagError, SetupError, TritonUnavailable
from reeltag.triton import TritonClient
from reeltag.triton_connection import model_config_pb2

LOAD_SECONDS: Final = 300.0
"""Longest wait for one model to be loaded."""
Undo = Callable[[Sequence[str]], object]
_CANDIDATE: Final = ".candidate"
"""Behind the name of a network that is tried."""
_TRIED: Final = "tried-"
"""Begin of the name of a folder that is written for that."""


@dataclass(frozen=True)
class LiveServer:
    """A running server and the repository that it serves.

    Args:
        target: The repository, on this machine.
        url: gRPC address of the server: embedded, or any that was started with `--model-control-mode=explicit`.
        secret: What it wants to be told, where it restricts its protocols.
        tell: Told of each step.
    """

    target: Path
    url: str
    secret: str | None = None
    tell: Callable[[str], None] = lambda _: None

    def bring(self, *, again: str = "", undo: Undo = lambda _: None) -> list[str]:
        """Serve what the repository holds; requests are answered all the while.

        Args:
            again: A network that is loaded again even where it is current.
            undo: Called with the names of what is new where that is refused: puts back into the repository what was
                there before.

        Returns:
            Names of the networks that are new in the server.

        Raises:
            ModelRejected: What is new could not be loaded, or answers nothing, or otherwise than when it was exported;
                what was served before is.
            SetupError: The server loads models at its start alone.
            TritonUnavailable: It is gone.
        """
        with self._alone() as may_end:
            return asyncio.run(self._bring(may_end, again, undo))

    def unload(self, name: str) -> None:
        """Serve a network no more, until it is loaded again or the server is started anew.

        Raises:
            InvalidOption: It is the last one of its task, or the server is not ours and it is the default of its task.
            UnknownModel: It is not served.
        """
        share = self._share()
        _check_served(share, name, self.target)
        task = share.networks[name].spec.task
        of_task = [one for one, artefact in share.networks.items() if artefact.spec.task == task]
        if of_task == [name]:
            raise InvalidOption(f"{name} alone does {task} here; load or export another network for it first")
        if self._folder is None and of_task[0] == name:
            raise InvalidOption(f"{name} is the default for {task}; choose another one with `reeltag models default`")
        with self._alone() as may_end:
            self._note_unloaded({*unloaded_in(self._folder), name} if self._folder else set())
            without = () if self._folder else (name,)
            asyncio.run(self._bring(may_end, "", lambda _: None, without=without))

    def load(self, name: str, *, again: bool = False) -> list[str]:
        """Serve a network that was unloaded, or what was published since; raises as `bring` and `unload`."""
        if self._folder is not None:
            self._note_unloaded({one for one in unloaded_in(self._folder) if one != name})
        _check_served(self._share(), name, self.target)
        return self.bring(again=name if again else "")

    @property
    def _folder(self) -> Path | None:
        return folder_of(self.url)

    @property
    def _models(self) -> Path:
        """What the server reads."""
        return self.target if self._folder is None else self._folder / MODELS

    def _note_unloaded(self, names: set[str]) -> None:
        if self._folder is not None:
            (self._folder / UNLOADED).write_text("\n".join(sorted(names)), "utf-8")

    def _share(self) -> Share:
        with locked(self.target, shared=True):
            if self._folder is None:
                return Share.of(self.target, everywhere=True)
            return Share.of(self.target, without=unloaded_in(self._folder), machine=machine_of(self._folder))

    @contextlib.contextmanager
    def _alone(self) -> Iterator[Path | None]:
        """Alone among those who change what the server loads; yields where to name backends that may end."""
        if self._folder is None:
            yield None
            return
        with changing(self._folder) as may_end:
            yield may_end

    async def _bring(self, may_end: Path | None, again: str, undo: Undo, *, without: tuple[str, ...] = ()) -> list[str]:
        async with TritonClient(self.url, timeout_seconds=LOAD_SECONDS, secret=self.secret) as client:
            exchange = _Exchange(self, client, may_end, without)
            await exchange.look()
            fresh = exchange.fresh(again)
            try:
                for name in fresh:
                    await exchange.try_out(name)
            except ReeltagError as error:
                undo(fresh)
                raise _refusal(fresh, error) from error
            try:
                await exchange.carry_out(again)
                for name in fresh:
                    await exchange.check(name)
            except ReeltagError as error:
                undo(fresh)
                with contextlib.suppress(TritonUnavailable):  # then it is started with what the repository holds
                    await exchange.look()
                    await exchange.carry_out("")
                raise _refusal(fresh, error) from error
            return fresh


def _refusal(fresh: Sequence[str], error: ReeltagError) -> ReeltagError:
    """An error that says that nothing has changed."""
    if isinstance(error, SetupError):
        return error
    return ModelRejected(f"{', '.join(fresh) or 'it'} is not served: {error}; what was served before is")


class _Exchange:
    """One change of what a server serves."""

    def __init__(
        self, server: LiveServer, client: TritonClient, may_end: Path | None, without: tuple[str, ...]
    ) -> None:
        self._server, self._client, self._may_end, self._without = server, client, may_end, without
        self._share = server._share()
        self._configs: dict[str, Any] = {}
        """Of the models that are ready, by name."""

    async def look(self) -> None:
        """See what the repository holds and what the server has."""
        self._share = self._server._share()
        ready = [entry.name for entry in await self._client.index() if entry.state == "READY"]
        configs = await asyncio.gather(*(self._client.config(name) for name in ready))
        self._configs = dict(zip(ready, configs, strict=True))

    def fresh(self, again: str) -> list[str]:
        """Networks whose version the server does not have, and the one that is loaded again."""
        return [
            name
            for name, artefact in self._share.networks.items()
            if name not in self._without
            and (name == again or self._card_text(name) != _card_text(artefact))
            and artefact.spec.task in {task.value for task in Task}
        ]

    def _card_text(self, name: str) -> str:
        config = self._configs.get(name)
        return "" if config is None else str(config.parameters[CARD_PARAMETER].string_value)

    async def try_out(self, name: str) -> None:
        """Load a network under another name and compare its answers with those that were recorded."""
        artefact = self._share.networks[name]
        candidate = f"{name}{_CANDIDATE}"
        folder = self._server._models / candidate
        self._server.tell(f"trying {name}")
        self._retire([candidate], [])
        shutil.rmtree(folder, ignore_errors=True)
        if name not in self._share.around:
            await self._tried(artefact, self._server.target / name, folder)
            return
        with tempfile.TemporaryDirectory(prefix=_TRIED) as written:  # it runs otherwise than it was published
            self._share.around[name].write(Path(written) / name)
            await self._tried(artefact, Path(written) / name, folder)

    async def _tried(self, artefact: Artefact, source: Path, folder: Path) -> None:
        candidate = folder.name
        _copy_under(source, folder, candidate)
        try:
            await self._client.load(candidate)
            await self._compare(artefact, candidate)
        finally:
            with contextlib.suppress(ReeltagError):
                await self._client.unload(candidate)
            await self._settled()
            shutil.rmtree(folder, ignore_errors=True)

    async def _compare(self, artefact: Artefact, candidate: str) -> None:
        if artefact.reference is None:
            return  # exported by an earlier reeltag, or what comes with it
        frames, expected = reference.unpacked(artefact.reference)
        found = await self._client.infer(candidate, {FRAMES: frames}, list(expected))
        apart, allowed = reference.difference(expected, found), reference.ALLOWED[artefact.passport.precision]
        if apart > allowed:
            raise ModelRejected(
                f"{artefact.spec.name} answers otherwise here than when it was exported: {apart:.0%} apart, "
                f"allowed are {allowed:.0%} in {artefact.passport.precision}"
            )

    async def carry_out(self, again: str) -> None:
        """Load what is new, ensembles first, which bring their networks; then unload what is no more."""
        share, models = self._share, self._server._models
        wanted = {name: self._config_of(name) for name in share.names if name not in self._without}
        changed = {name for name, config in wanted.items() if name == again or not self._is_current(name, config)}
        changed |= {
            name
            for name, config in wanted.items()
            if any(step.model_name in changed for step in config.ensemble_scheduling.step)
        }
        gone = [name for name in self._configs if name not in wanted]
        # Triton loads again what an ensemble needs, and what else needs that, where a file is newer than it was at its
        # start; Python's `__pycache__` is.
        self._name_those_that_end(*wanted, *gone)
        self._retire(gone, wanted)
        if self._server._folder is not None:
            self._relink(models, wanted, changed)
        if again:
            os.utime(self._server.target / again / CONFIG_FILE)  # Triton loads what is newer than what it has
        backends = [
            name
            for name in share.around
            if name in changed and name not in share.networks and not _is_ensemble(wanted[name])
        ]
        ensembles = [name for name in wanted if name in changed and _is_ensemble(wanted[name])]
        inside = {step.model_name for name in ensembles for step in wanted[name].ensemble_scheduling.step}
        alone = [name for name in wanted if name in changed and name not in {*inside, *ensembles, *backends}]
        for name in (*backends, *ensembles, *alone):
            self._server.tell(f"loading {name}")
            await self._client.load(name)
        for name in sorted(gone, key=lambda one: not _is_ensemble(self._configs[one])):
            await self._client.unload(name)
        await self._settled()

    async def check(self, name: str) -> None:
        """See that a network answers a picture, as gateways ask it."""
        async with TritonClient(self._server.url, timeout_seconds=LOAD_SECONDS, secret=self._server.secret) as client:
            artefact = self._share.networks[name]
            (answer,) = await client.infer_images(
                {Task(artefact.spec.task): artefact.card}, [SMALL_IMAGE], named=[name]
            )
            if isinstance(answer, ImageRejected):
                raise answer

    def _config_of(self, name: str) -> Any:
        if name in self._share.around:
            return self._share.around[name].config
        text = (self._server.target / name / CONFIG_FILE).read_text("utf-8")
        return text_format.Parse(text, model_config_pb2.ModelConfig())

    def _is_current(self, name: str, config: Any) -> bool:
        """Whether the server has a model as it should be; Triton adds its defaults to what it was given."""
        has = self._configs.get(name)
        if has is None:
            return False
        same_steps = [(s.model_name, s.model_version) for s in has.ensemble_scheduling.step] == [
            (s.model_name, s.model_version) for s in config.ensemble_scheduling.step
        ]
        said, has_said = config.parameters, has.parameters
        return same_steps and all(has_said[key].string_value == said[key].string_value for key in said)

    def _relink(self, models: Path, wanted: dict[str, Any], changed: set[str]) -> None:
        """Let the embedded server's own folder hold what is wanted."""
        with locked(self._server.target, shared=True):
            for name in wanted:
                if (models / name).is_dir() and name not in changed:
                    continue
                _remove(models / name)
                if name in self._share.around:  # anew, so that Triton sees that it is another one
                    self._share.around[name].write(models / name)
                else:
                    self._share.link(models, [name])
        for path in models.iterdir():
            if path.name not in wanted:
                _remove(path)

    def _retire(self, gone: Iterable[str], served: Iterable[str]) -> None:
        if self._server._folder is not None:
            retire(self._server._folder, gone, served)

    def _name_those_that_end(self, *names: str) -> None:
        if self._may_end is not None:
            before = self._may_end.read_text("utf-8").split("\n")
            with self._may_end.open("r+", encoding="utf-8") as file:
                file.write("\n".join(dict.fromkeys([*filter(None, before), *names])))

    async def _settled(self) -> None:
        """Wait until Triton has unloaded what it is to unload, which it does in its own time."""
        end = asyncio.get_running_loop().time() + LOAD_SECONDS
        while any(entry.state in ("LOADING", "UNLOADING") for entry in await self._client.index()):
            if asyncio.get_running_loop().time() > end:
                return
            await asyncio.sleep(0.1)


def _copy_under(folder: Path, candidate: Path, name: str) -> None:
    """The folder of a model as one of another name, with links to its files."""
    candidate.mkdir(parents=True)
    config = text_format.Parse((folder / CONFIG_FILE).read_text("utf-8"), model_config_pb2.ModelConfig())
    config.name = name
    del config.parameters[CARD_PARAMETER]  # nobody is to take it for a network that is served
    for path in folder.iterdir():
        if path.name.isdigit() or path.suffix == ".txt":
            (candidate / path.name).symlink_to(path.resolve())
    (candidate / CONFIG_FILE).write_text(text_format.MessageToString(config), "utf-8")


def _remove(path: Path) -> None:
    if path.is_symlink():
        path.unlink()
    else:
        shutil.rmtree(path, ignore_errors=True)


def _is_ensemble(config: Any) -> bool:
    return bool(config.ensemble_scheduling.step)


def _card_text(artefact: Artefact) -> str:
    card = artefact.published or artefact.card
    return card.model_dump_json()


def _check_served(share: Share, name: str, target: Path) -> None:
    check_there(target, name)
    if name not in share.networks:
        notices = [notice for notice in share.notices if notice.startswith(f"{name} is left out")]
        raise InvalidOption(
            notices[0] if notices else f"{name} is not served; load it with `reeltag models load {name}`"
        )

"""Fills the model repository that Triton serves, one folder at a time and each of them atomically."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Final

from google.protobuf import text_format  # type: ignore[import-untyped,unused-ignore]  # without types-protobuf

from exporters import configs
from exporters.catalog import CHECKPOINT_MODELS, MODELS, ModelSpec, model_spec
from exporters.exported import NETWORK_FILE, exported_specs, serving
from reeltag import frames
from reeltag.contract import ModelCard, Task
from reeltag.errors import InvalidOption, ModelRepositoryError

RUNTIMES: Final = ("openvino",)
PRECISIONS: Final = ("f32", "bf16")
_PASSPORT: Final = "passport.json"
_TEMPORARY_PREFIX: Final = ".reeltag-"
_BACKEND: Final = Path(__file__).parent / "backends" / "openvino_model.py"
_BF16_CPU_FLAGS: Final = {"avx512_bf16", "amx_bf16"}


@dataclass(frozen=True)
class ListedModel:
    """One line of `reeltag models`."""

    name: str
    task: str
    input: str
    """Such as `416x416`, width by height in pixels."""
    parameters: int
    """How many weights it has."""
    size_bytes: int
    """Of the exported graph; 0 where it is missing."""
    licence: str
    in_repository: bool
    """Whether the repository has its folder."""
    needs_checkpoint: bool
    """Whether it is exported from a checkpoint that the user brings."""


@dataclass(frozen=True)
class _Folder:
    """What a model's folder should hold, besides its passport."""

    config: configs.ModelConfig
    files: dict[str, Path] = field(default_factory=dict)
    """By path in the folder, the file to copy."""

    @property
    def name(self) -> str:
        return str(self.config.name)

    @property
    def config_text(self) -> str:
        return str(text_format.MessageToString(self.config))

    @cached_property
    def fingerprint(self) -> str:
        """Changes with anything that the folder should hold."""
        parts = [self.config_text, *(f"{path}:{_sha256(source)}" for path, source in sorted(self.files.items()))]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def default_repository() -> Path:
    """The `model_repository` folder beside this package: in a checkout the committed one."""
    return Path(__file__).parent.parent / "model_repository"


def publish(
    target: Path,
    names: Sequence[str | ModelSpec] | None = None,
    *,
    runtime: str = "openvino",
    precision: str | None = None,
) -> list[str]:
    """Bring a model repository up to date; does nothing where it is.

    Networks that were published before stay, and serve their ensembles until others are named; folders that are not
    reeltag's are left alone.

    Args:
        target: The repository; made where it is missing.
        names: Networks of the catalogue, or what was just exported; without it all that come with reeltag. Of several
            with one task the first serves its ensembles.
        runtime: What runs the networks: `openvino`.
        precision: `f32` or `bf16`; without it bf16 where the CPU has it.

    Returns:
        Names of the model folders that were written.

    Raises:
        UnknownModel: A name is not in the catalogue.
        InvalidOption: An unknown runtime or precision.
        ModelRepositoryError: A folder cannot be written, or a source is missing; what was served before still is.
    """
    if runtime not in RUNTIMES:
        raise InvalidOption(f"runtime {runtime!r} cannot be published; there is: {', '.join(RUNTIMES)}")
    precision = precision or best_precision()
    if precision not in PRECISIONS:
        raise InvalidOption(f"precision {precision!r} is unknown; there are: {', '.join(PRECISIONS)}")
    try:
        _recover_all(target)
        specs = _specs(target, names)
        folders = list(_folders(specs, target, runtime, precision))
        if all(_is_current(target / folder.name, folder) for folder in folders):
            return []
        target.mkdir(parents=True, exist_ok=True)
        with _locked(target):
            # Looked at again, because another process may have published while this one waited for the lock.
            stale = [folder for folder in folders if not _is_current(target / folder.name, folder)]
            for folder in stale:
                _replace(target, folder)
    except OSError as error:
        raise ModelRepositoryError(
            f"the model repository {target} cannot be written ({error}); what was there is still served"
        ) from error
    return [folder.name for folder in stale]


def _specs(target: Path, names: Sequence[str | ModelSpec] | None) -> list[ModelSpec]:
    """What a repository should hold: those that are named, those that serve, all others that are there."""
    there = {spec.name: spec for spec in MODELS.values() if (target / spec.name / _PASSPORT).is_file()}
    there |= {spec.name: spec for spec in exported_specs(target)}
    named = [name if isinstance(name, ModelSpec) else there.get(name) or model_spec(name) for name in names or ()]
    first = [there[name] for name in serving(target) if name in there]
    bundled = list(MODELS.values()) if names is None else []
    unique: dict[str, ModelSpec] = {}
    for spec in (*named, *first, *bundled, *there.values()):
        unique.setdefault(spec.name, spec)
    return list(unique.values())


def listing(target: Path) -> list[ListedModel]:
    """The networks of the catalogue, and which of them a repository has."""
    exported = {spec.name: spec for spec in exported_specs(target)}
    catalogue = MODELS | CHECKPOINT_MODELS | exported
    return [
        ListedModel(
            name=spec.name,
            task=spec.task,
            input=f"{spec.width}x{spec.height}",
            parameters=spec.parameters,
            size_bytes=spec.onnx_path.stat().st_size if spec.onnx_path.is_file() else 0,
            licence=spec.licence,
            in_repository=(target / spec.name / "config.pbtxt").is_file(),
            needs_checkpoint=spec.source == "checkpoint",
        )
        for spec in catalogue.values()
    ]


def best_precision() -> str:
    """`bf16` where the CPU computes in it, otherwise `f32`.

    The CPU's own flags are read because importing OpenVINO to ask it takes longer than all the rest.
    """
    try:
        words = set(Path("/proc/cpuinfo").read_text("utf-8").split())
    except OSError:  # not Linux
        return "f32"
    return "bf16" if words & _BF16_CPU_FLAGS else "f32"


def _folders(specs: Sequence[ModelSpec], target: Path, runtime: str, precision: str) -> Iterator[_Folder]:
    """Everything that serving these networks takes."""
    threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    cards = {spec.name: _card(spec, runtime, precision) for spec in specs}
    for spec in specs:
        files = {"1/model.py": _BACKEND, NETWORK_FILE: spec.onnx_path}
        if spec.labels_path:
            files[configs.LABELS_FILE] = spec.labels_path
        yield _Folder(configs.network_config(spec, precision=precision, threads=threads), files)
        if spec.task == "shots":
            yield _Folder(configs.shots_ensemble_config(spec, cards[spec.name]))
    networks = {task: spec for task in Task for spec in reversed(specs) if spec.task == task.value}
    if networks:
        views = dict.fromkeys(spec.view for spec in networks.values() if spec.view)
        config = configs.decode_config(list(views), threads=threads)
        yield _Folder(config, {**_python_sources(configs.DECODE, target), "1/frames.py": Path(frames.__file__)})
    if Task.DETECT in networks:
        yield _Folder(configs.nms_config(networks[Task.DETECT].candidates), _python_sources(configs.NMS, target))
    for task, spec in networks.items():
        yield _Folder(configs.image_ensemble_config({task: spec}, cards[spec.name]))
        yield _Folder(configs.frames_ensemble_config(task, spec, cards[spec.name]))
    if len(networks) > 1:
        yield _Folder(configs.image_ensemble_config(networks, None))


def _card(spec: ModelSpec, runtime: str, precision: str) -> ModelCard:
    if not spec.onnx_path.is_file():
        checkpoint = " --checkpoint FILE" if spec.source == "checkpoint" else ""
        raise ModelRepositoryError(f"{spec.onnx_path} is missing; run: reeltag export {spec.name}{checkpoint}")
    return ModelCard(
        network=spec.name,
        task=spec.task,
        height=spec.height,
        width=spec.width,
        view=spec.view.name if spec.view else "",
        labels=spec.labels,
        groups=spec.groups,
        runtime=runtime,
        precision=precision,
        sha256=_sha256(spec.onnx_path),
    )


def _python_sources(name: str, target: Path) -> dict[str, Path]:
    """The committed files of a Python backend, by path in its folder."""
    sources = sorted((default_repository() / name / "1").glob("*.py"))
    if not any(source.name == "model.py" for source in sources):
        raise ModelRepositoryError(
            f"{default_repository() / name / '1' / 'model.py'} is missing; restore it from the repository of reeltag"
        )
    return {f"1/{source.name}": source for source in sources if source.name != "frames.py"}


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _is_current(path: Path, folder: _Folder) -> bool:
    try:
        passport = json.loads((path / _PASSPORT).read_text("utf-8"))
        sizes_agree = all(
            (path / name).stat().st_size == source.stat().st_size for name, source in folder.files.items()
        )
        return passport["fingerprint"] == folder.fingerprint and sizes_agree and (path / "config.pbtxt").is_file()
    except (OSError, ValueError, KeyError, TypeError):
        return False


@contextmanager
def _locked(target: Path) -> Iterator[None]:
    """Two servers that start at once publish one after the other."""
    folder = os.open(target, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _replace(target: Path, folder: _Folder) -> None:
    """Write the folder beside its place, then exchange it by renaming; the old one is served until then."""
    path, workshop = target / folder.name, target / f"{_TEMPORARY_PREFIX}{folder.name}"
    if (path / "config.pbtxt").is_file() and not (path / _PASSPORT).is_file():
        raise ModelRepositoryError(
            f"{path} was not written by reeltag and is left alone; rename it, or name another repository"
        )
    old, new = workshop / "old", workshop / "new"
    try:
        _write(new, folder)
        if path.exists():
            path.rename(old)
        new.rename(path)
    finally:
        _recover(path, workshop)


def _recover_all(target: Path) -> None:
    """Clear up after a process that was killed while it published: Triton would take its workshop for a model."""
    if any(target.glob(f"{_TEMPORARY_PREFIX}*")):
        with _locked(target):  # another process may be at work in it right now
            for workshop in target.glob(f"{_TEMPORARY_PREFIX}*"):
                _recover(target / workshop.name.removeprefix(_TEMPORARY_PREFIX), workshop)


def _recover(path: Path, workshop: Path) -> None:
    """Put back what an interrupted exchange took away, and clear up."""
    if not path.exists() and (workshop / "old").exists():
        (workshop / "old").rename(path)
    if workshop.exists():
        shutil.rmtree(workshop)


def _write(path: Path, folder: _Folder) -> None:
    (path / "1").mkdir(parents=True)
    for name, source in folder.files.items():
        shutil.copyfile(source, path / name)
    (path / "config.pbtxt").write_text(folder.config_text, "utf-8")
    (path / _PASSPORT).write_text(json.dumps({"fingerprint": folder.fingerprint}, indent=2) + "\n", "utf-8")

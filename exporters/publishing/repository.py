"""Fills the model repository that Triton serves, one folder at a time and each of them atomically."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from exporters.catalogue.entries import CHECKPOINT_MODELS, MODELS, model_spec
from exporters.publishing import configs
from exporters.publishing.artefact import Artefact, bundled_artefact
from exporters.publishing.exported import artefacts_in, serving
from exporters.publishing.folders import CONFIG_FILE, ModelFolder, locked, recover_all
from exporters.publishing.passport import Gpu, Passport, check_servable, find_gpu
from reeltag import areas, frames
from reeltag.contract import AREAS, DECODE, NMS, Task
from reeltag.errors import ModelRepositoryError

EMBEDDED_RUNTIME: Final = "openvino"
"""What the server that comes with reeltag runs networks in."""


@dataclass(frozen=True)
class ListedModel:
    """One line of `reeltag models`."""

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
    problem: str
    """Why it cannot be served here; empty where it can."""


def default_repository() -> Path:
    """The `model_repository` folder beside this package: in a checkout the committed one."""
    return Path(__file__).parents[2] / "model_repository"


def publish(target: Path, names: Sequence[str | Artefact] | None = None) -> list[str]:
    """Bring a model repository up to date; does nothing where it is.

    Networks that were published before stay, and serve their ensembles until others are named; folders that are not
    reeltag's are left alone.

    Args:
        target: The repository; made where it is missing.
        names: Networks of the catalogue or of the repository, or what was just exported; without it all that come with
            reeltag. Of several with one task the first serves its ensembles.

    Returns:
        Names of the model folders that were written.

    Raises:
        UnknownModel: A name is neither in the catalogue nor in the repository.
        ModelRepositoryError: A folder cannot be written, or a source is missing; what was served before still is.
    """
    try:
        recover_all(target)
        folders = list(_folders(_chosen(target, names), target))
        if all(folder.is_current(target) for folder in folders):
            return []
        target.mkdir(parents=True, exist_ok=True)
        with locked(target):
            # Looked at again, because another process may have published while this one waited for the lock.
            stale = [folder for folder in folders if not folder.is_current(target)]
            for folder in stale:
                folder.replace(target)
    except OSError as error:
        raise ModelRepositoryError(
            f"the model repository {target} cannot be written ({error}); what was there is still served"
        ) from error
    return [folder.name for folder in stale]


def check_target(target: Path) -> None:
    """Refuse what cannot be a model repository.

    Raises:
        ModelRepositoryError: It is there, and no folder.
    """
    if target.exists() and not target.is_dir():
        raise ModelRepositoryError(f"{target} is no folder; name one for the model repository, or one to be made")


def _chosen(target: Path, names: Sequence[str | Artefact] | None) -> list[Artefact]:
    """What a repository should hold: those that are named, those that serve, all others that are there."""
    replaced = [name.spec.name for name in names or () if isinstance(name, Artefact)]
    there = {artefact.spec.name: artefact for artefact in artefacts_in(target, replaced=replaced)}
    kept = {name: artefact for name, artefact in there.items() if artefact.passport.exported}
    renewed = {name: bundled_artefact(spec) for name, spec in MODELS.items()}

    def artefact_of(name: str) -> Artefact:
        return kept.get(name) or renewed.get(name) or bundled_artefact(model_spec(name))

    named = [name if isinstance(name, Artefact) else artefact_of(name) for name in names or ()]
    first = [artefact_of(name) for name in serving(target) if name in there]
    bundled = [artefact_of(name) for name in MODELS] if names is None else []
    unique: dict[str, Artefact] = {}
    for artefact in (*named, *first, *bundled, *(artefact_of(name) for name in there)):
        unique.setdefault(artefact.spec.name, artefact)
    return list(unique.values())


def listing(target: Path) -> list[ListedModel]:
    """The networks of the catalogue and of a repository, and which of them can be served here."""
    there = {artefact.spec.name: artefact for artefact in artefacts_in(target)}
    gpu = find_gpu() if any(artefact.passport.plan for artefact in there.values()) else None
    specs = MODELS | CHECKPOINT_MODELS | {name: artefact.spec for name, artefact in there.items()}
    listed = []
    for name, spec in specs.items():
        artefact = there.get(name)
        file = artefact.file if artefact else spec.onnx_path
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
                passport=artefact.passport if artefact else None,
                problem=_problem(artefact, gpu) if artefact else "",
            )
        )
    return listed


def check_embedded(target: Path) -> None:
    """Refuse to start the embedded server on a repository that it cannot serve whole.

    Raises:
        ModelRepositoryError: A plan was made for another TensorRT or GPU, or a network is for a runtime that only
            NVIDIA's container has; the text names it and the command that helps.
    """
    artefacts = artefacts_in(target)
    gpu = find_gpu() if any(artefact.passport.plan for artefact in artefacts) else None
    for artefact in artefacts:
        check_artefact(artefact, gpu)
        if artefact.passport.runtime != EMBEDDED_RUNTIME:
            raise ModelRepositoryError(
                f"{artefact.spec.name} in {target} runs in {artefact.passport.runtime}, which the server that comes "
                f"with reeltag does not have; serve this repository with NVIDIA's Triton container "
                f"(reeltag serve --triton-url HOST:PORT), or export it with --runtime {EMBEDDED_RUNTIME}"
            )


def check_artefact(artefact: Artefact, gpu: Gpu | None, *, tensorrt_version: str | None = None) -> None:
    """Refuse an artefact that cannot run here.

    Args:
        artefact: In a model repository.
        gpu: Of this machine.
        tensorrt_version: Of the TensorRT that would serve it; none where it is not known.

    Raises:
        ModelRepositoryError: A plan for another TensorRT or GPU, or a file that is missing or damaged.
    """
    name = artefact.card.network
    rebuild = f"reeltag export {name} --rebuild-stale"
    check_servable(artefact.passport, name=name, tensorrt_version=tensorrt_version, gpu=gpu, rebuild=rebuild)


def _problem(artefact: Artefact, gpu: Gpu | None) -> str:
    try:
        check_artefact(artefact, gpu)
    except ModelRepositoryError as error:
        return str(error)
    return ""


def _folders(artefacts: Sequence[Artefact], target: Path) -> Iterator[ModelFolder]:
    """Everything that serving these networks takes."""
    threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    cards = {artefact.spec.name: artefact.card for artefact in artefacts}
    for artefact in artefacts:
        spec = artefact.spec
        yield _network_folder(artefact, threads)
        if spec.task == "shots":
            yield ModelFolder(configs.shots_ensemble_config(spec, cards[spec.name]))
    served = {task: a for task in Task for a in reversed(artefacts) if a.spec.task == task.value}
    networks = {task: artefact.spec for task, artefact in served.items()}
    if networks:
        views = dict.fromkeys(spec.view for spec in networks.values() if spec.view)
        config = configs.decode_config(list(views), workers=threads)
        package = Path(frames.__file__).parent
        sources = {f"1/{package.name}/{source.name}": source for source in sorted(package.glob("*.py"))}
        yield ModelFolder(config, {**_python_sources(DECODE), **sources})
    nms = served[Task.DETECT].passport.nms if Task.DETECT in served else "python"
    if Task.DETECT in networks:
        yield ModelFolder(configs.nms_config(networks[Task.DETECT].candidates, nms), _python_sources(NMS))
    if Task.SEGMENT in networks:
        files = {**_python_sources(AREAS), "1/areas.py": Path(areas.__file__)}
        yield ModelFolder(configs.areas_config(networks[Task.SEGMENT]), files)
    for task, spec in networks.items():
        yield ModelFolder(configs.image_ensemble_config({task: spec}, cards[spec.name], nms=nms))
        yield ModelFolder(configs.frames_ensemble_config(task, spec, cards[spec.name], nms=nms))
    for count in range(2, len(networks) + 1):
        for several in itertools.combinations(networks, count):
            chosen = {task: networks[task] for task in several}
            yield ModelFolder(configs.image_ensemble_config(chosen, None, nms=nms))


def _network_folder(artefact: Artefact, threads: int) -> ModelFolder:
    files = artefact.files
    if artefact.passport.runtime == "openvino":
        files["1/model.py"] = Path(__file__).parents[1] / "backends" / "openvino_model.py"
    precision, nms = artefact.openvino_precision, artefact.passport.nms
    config = configs.network_config(
        artefact.spec,
        artefact.card,
        precision=precision,
        threads=threads,
        nms=nms,
        one_by_one=artefact.passport.one_by_one,
    )
    return ModelFolder(config, files, artefact.passport)


def _python_sources(name: str) -> dict[str, Path]:
    """The committed files of a Python backend, by path in its folder."""
    sources = sorted((default_repository() / name / "1").glob("*.py"))
    if not any(source.name == "model.py" for source in sources):
        raise ModelRepositoryError(
            f"{default_repository() / name / '1' / 'model.py'} is missing; restore it from the repository of reeltag"
        )
    return {f"1/{source.name}": source for source in sources if source.name != "frames.py"}

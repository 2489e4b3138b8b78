"""The folders of a model repository that serving given networks takes."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from exporters.publishing import configs
from exporters.publishing.artefact import Artefact
from exporters.publishing.folders import ModelFolder
from reeltag import areas, frames
from reeltag.contract import AREAS, DECODE, NMS, NMS_OF_KIND, ModelCard, Task, ensemble_version
from reeltag.errors import ModelRepositoryError
from reeltag.settings import Settings, load_settings

BACKENDS: Final = (DECODE, *NMS_OF_KIND.values(), AREAS)
"""Names of the Python backends around the networks."""


def default_repository() -> Path:
    """The `model_repository` folder beside this package: in a checkout the committed one."""
    return Path(__file__).parents[2] / "model_repository"


def network_folder(artefact: Artefact, *, engine: str = "") -> ModelFolder:
    """The network itself.

    Args:
        artefact: Of the network.
        engine: Package that runs it on the GPU in a Python backend: `onnxruntime`, or the one that built its plan.

    Raises:
        ModelRepositoryError: Its file is missing or damaged.
    """
    files, version = artefact.files, artefact.card.version
    for name, source in _backend_of(artefact.passport.runtime, engine).items():
        files[f"{version}/{name}"] = Path(__file__).parents[1] / "backends" / source
    precision, nms = artefact.openvino_precision, artefact.passport.nms
    config = configs.network_config(
        artefact.spec,
        artefact.card,
        precision=precision,
        settings=load_settings(),
        nms=nms,
        one_by_one=artefact.passport.one_by_one,
        engine=engine,
        smallest_batch=artefact.passport.plan.batch_sizes[0] if artefact.passport.plan else 1,
    )
    return ModelFolder(config, files, artefact.passport, version)


def _backend_of(runtime: str, engine: str) -> dict[str, str]:
    """Files of the Python backend that runs a network, by their names in its version folder."""
    if engine:
        siblings = ["onnx_engine.py", "onnx_parts.py"] if engine == "onnxruntime" else ["plan_engine.py"]
        return {"model.py": "gpu_model.py"} | {name: name for name in ("batches.py", *siblings)}
    return {"model.py": "openvino_model.py"} if runtime == "openvino" else {}


def task_folders(
    artefacts: Sequence[Artefact],
    cards: Mapping[str, ModelCard],
    there: Collection[str] = (),
    *,
    gpus: configs.Gpus | None = None,
) -> Iterator[ModelFolder]:
    """What stands around the networks: decoding, what follows them, and the ensembles.

    Args:
        artefacts: Of several with one task the first serves it; each is served by its name, too.
        cards: Theirs, by name.
        there: Names of backends whose folders are made whole though none of these networks needs them: without
            `--model-control-mode` Triton loads every folder, and does not start where it cannot.
        gpus: That pictures are decoded on; by the runtimes that the networks were exported for without it.

    Raises:
        ModelRepositoryError: The source of a backend is missing.
    """
    served = {task: a for task in Task for a in reversed(artefacts) if a.spec.task == task.value}
    networks = {task: artefact.spec for task, artefact in served.items()}
    nms = served[Task.DETECT].passport.nms if Task.DETECT in served else "python"
    of_tasks = [artefact for artefact in artefacts if artefact.spec.task in {task.value for task in Task}]
    yield from _backend_folders(of_tasks, there, load_settings(), gpus)
    of_task = {task: cards[spec.name] for task, spec in networks.items()}

    def image_ensemble(tasks: Sequence[Task]) -> ModelFolder:
        some = {task: of_task[task] for task in tasks}
        config = configs.image_ensemble_config({task: networks[task] for task in tasks}, some, nms=nms)
        return ModelFolder(config, version=ensemble_version(some))

    for task, spec in networks.items():
        yield image_ensemble([task])
        config = configs.frames_ensemble_config(task, spec, of_task[task], nms=nms)
        yield ModelFolder(config, version=of_task[task].version)
    for artefact in of_tasks:
        yield from _by_name(artefact, cards[artefact.spec.name])
    for count in range(2, len(networks) + 1):
        yield from map(image_ensemble, itertools.combinations(networks, count))
    for artefact in [artefact for artefact in artefacts if artefact.spec.task == "shots"][:1]:
        card = cards[artefact.spec.name]
        yield ModelFolder(configs.shots_ensemble_config(artefact.spec, card), version=card.version)


def _by_name(artefact: Artefact, card: ModelCard) -> Iterator[ModelFolder]:
    """The ensembles of one network alone, whichever serves its task."""
    spec, task, nms = artefact.spec, Task(artefact.spec.task), artefact.passport.nms
    of_images = configs.image_ensemble_config({task: spec}, {task: card}, nms=nms, by_name=True)
    of_frames = configs.frames_ensemble_config(task, spec, card, nms=nms, by_name=True)
    for config in (of_images, of_frames):
        yield ModelFolder(config, version=card.version)


def _gpus_of(artefacts: Sequence[Artefact]) -> configs.Gpus:
    """Of a server that has the runtimes that networks were exported for."""
    return "all" if any(artefact.passport.runtime in ("onnxruntime", "tensorrt") for artefact in artefacts) else "none"


def _backend_folders(
    artefacts: Sequence[Artefact], there: Collection[str], settings: Settings, gpus: configs.Gpus | None
) -> Iterator[ModelFolder]:
    if artefacts or DECODE in there:
        views = dict.fromkeys(artefact.spec.view for artefact in artefacts if artefact.spec.view)
        in_order = sorted(views, key=lambda view: view.name)  # whichever network serves its task
        config = configs.decode_config(in_order, settings, gpus=gpus or _gpus_of(artefacts))
        package = Path(frames.__file__).parent
        sources = {f"1/{package.name}/{source.name}": source for source in sorted(package.glob("*.py"))}
        yield ModelFolder(config, {**_python_sources(DECODE), **sources})
    detectors = [artefact for artefact in artefacts if artefact.spec.task == Task.DETECT.value]
    kinds = {artefact.passport.nms for artefact in detectors}
    for kind, name in NMS_OF_KIND.items():
        if kind in kinds or name in there:
            yield ModelFolder(configs.nms_config(kind, settings=settings), _python_sources(NMS))
    if any(artefact.spec.task == Task.SEGMENT.value for artefact in artefacts) or AREAS in there:
        files = {**_python_sources(AREAS), "1/areas.py": Path(areas.__file__)}
        yield ModelFolder(configs.areas_config(settings), files)


def _python_sources(name: str) -> dict[str, Path]:
    """The committed files of a Python backend, by path in its folder."""
    sources = sorted((default_repository() / name / "1").glob("*.py"))
    if not any(source.name == "model.py" for source in sources):
        raise ModelRepositoryError(
            f"{default_repository() / name / '1' / 'model.py'} is missing; restore it from the repository of reeltag"
        )
    return {f"1/{source.name}": source for source in sources if source.name != "frames.py"}

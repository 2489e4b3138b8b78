"""Triton configurations, as Triton's own protobuf messages, of everything in the model repository."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

from exporters.catalogue.entries import ModelSpec
from reeltag.contract import (
    AREAS,
    BOXES,
    CANDIDATES,
    CARD_PARAMETER,
    CLASS_MAP,
    CLASSES,
    COUNT,
    CUTS,
    DECODE,
    ERROR,
    FRAMES,
    GEOMETRY,
    IMAGE,
    IOU_THRESHOLD,
    MAX_BATCH_SIZE,
    MAX_DETECTIONS,
    NMS_OF_KIND,
    SCORE_THRESHOLD,
    SCORES,
    SHARES,
    SHOTS_ENSEMBLE,
    TASK_OUTPUTS,
    VIEWS_PARAMETER,
    ModelCard,
    Suppression,
    Task,
    image_ensemble,
    joint_output,
    named_ensemble,
)
from reeltag.frames import View
from reeltag.machine import this_machine
from reeltag.settings import Settings
from reeltag.sizing import LONE_THREADS, PICTURES_A_THREAD
from reeltag.triton_connection import model_config_pb2

Dims = Sequence[int]
"""Shape of a tensor without the batch axis."""
ModelConfig = Any
"""`model_config_pb2.ModelConfig`; tritonclient publishes no type information."""
Nms = Suppression

LABELS_FILE: Final = "labels.txt"
PICTURES_PER_INFERENCE: Final = {"detect": PICTURES_A_THREAD, "classify": PICTURES_A_THREAD}
"""Most pictures that one thread computes at once, by task; those of other tasks are computed one by one. More are no
faster on a CPU, and each takes 20 to 40 MiB for good; a segmenter's takes hundreds."""


Gpus = Literal["none", "first", "all"]
"""Those of a server that a model has instances on; where it has none of `all`, it runs on the CPU."""


def decode_config(views: Sequence[View], settings: Settings, *, gpus: Gpus = "none") -> ModelConfig:
    """`IMAGE` to the pixels and geometry of each view, and `ERROR`.

    Args:
        views: Of all networks.
        settings: How many instances there are on the CPU, and how many large pictures are decoded at one time.
        gpus: That networks run on: pictures are decoded there, too, so that pixels need no copy.
    """
    count = settings.decode_instances if gpus == "none" else 1
    config = _instances(_python_model(DECODE, MAX_BATCH_SIZE), count, settings.batch_max_images)
    kinds, group = model_config_pb2.ModelInstanceGroup, config.instance_group[0]
    if gpus == "all":
        group.kind = kinds.KIND_AUTO
    elif gpus == "first":
        group.kind = kinds.KIND_GPU
        group.gpus.append(0)
    _add(config.input, IMAGE, "TYPE_STRING", [1])
    for view in views:
        _add(config.output, view.name, "TYPE_UINT8", [view.height, view.width, 3])
        _add(config.output, geometry_tensor(view), "TYPE_FP32", [6])
    _add(config.output, ERROR, "TYPE_STRING", [1])
    workers = -(-settings.decode_workers // count)
    _set_parameters(config, {VIEWS_PARAMETER: json.dumps([view.name for view in views]), "workers": str(workers)})
    return config


def nms_config(nms: Nms = "python", *, settings: Settings) -> ModelConfig:
    """Any number of `CANDIDATES`, and on the image path `GEOMETRY`, to `BOXES`, `SCORES`, `CLASSES` and `COUNT`.

    Where the network suppresses by itself, only its `BOXES` and `GEOMETRY` to `BOXES` in source pixels.

    Args:
        nms: What suppresses.
        settings: How many instances there are.
    """
    config = _behind_networks(NMS_OF_KIND[nms], settings)
    if nms == "engine":
        _add(config.input, BOXES, *_DETECT_TENSORS[BOXES])
        _add(config.input, GEOMETRY, "TYPE_FP32", [6])
        _add(config.output, BOXES, *_DETECT_TENSORS[BOXES])
        return config
    _add(config.input, CANDIDATES, "TYPE_FP32", [-1, 6])
    _add(config.input, GEOMETRY, "TYPE_FP32", [6]).optional = True
    for name in TASK_OUTPUTS[Task.DETECT]:
        _add(config.output, name, *_DETECT_TENSORS[name])
    iou_threshold = 1.0 if nms == "network" else IOU_THRESHOLD  # no two boxes overlap more than wholly
    _set_parameters(config, {"score_threshold": str(SCORE_THRESHOLD), "iou_threshold": str(iou_threshold)})
    return config


def areas_config(settings: Settings) -> ModelConfig:
    """`CLASS_MAP` and `SHARES` of any segmenter's input, and `GEOMETRY`, to both of the picture alone."""
    config = _behind_networks(AREAS, settings)
    tensors: dict[str, tuple[str, Dims]] = {CLASS_MAP: ("TYPE_UINT8", [-1, -1]), SHARES: ("TYPE_FP32", [-1])}
    for name in TASK_OUTPUTS[Task.SEGMENT]:
        _add(config.input, f"INPUT_{name}", *tensors[name])
    _add(config.input, GEOMETRY, "TYPE_FP32", [6])
    for name in TASK_OUTPUTS[Task.SEGMENT]:
        _add(config.output, name, *tensors[name])
    return config


def network_config(
    spec: ModelSpec,
    card: ModelCard,
    *,
    precision: str,
    settings: Settings,
    nms: Nms = "python",
    one_by_one: bool = False,
    engine: str = "",
    smallest_batch: int = 1,
) -> ModelConfig:
    """The network itself, run by what `card.runtime` says.

    Args:
        spec: Its `max_batch_size` is at most the largest batch of a plan's profile.
        card: Of the network.
        precision: OpenVINO's name of the one that it computes in.
        settings: Instances and threads for OpenVINO.
        nms: Of a detector.
        one_by_one: Whether each thread is given one picture at a time.
        engine: Package that runs it on the GPU in a Python backend, for a server without Triton's own backends.
        smallest_batch: Of a plan's profile.
    """
    config = _gpu_model(spec, engine, smallest_batch) if engine else _network_model(spec, card.runtime, settings)
    _add(config.input, FRAMES, "TYPE_UINT8", spec.input_shape)
    for name, (data_type, dims) in network_outputs(spec, nms).items():
        output = _add(config.output, name, data_type, dims)
        if name in (SCORES, SHARES) and spec.task != "detect":
            output.label_filename = LABELS_FILE
    _set_parameters(config, {CARD_PARAMETER: card.model_dump_json()})
    if card.runtime == "openvino":
        _set_parameters(config, _openvino_parameters(spec, precision, settings, one_by_one))
    return config


def network_outputs(spec: ModelSpec, nms: Nms = "python") -> dict[str, tuple[str, Dims]]:
    """Triton's data type and the shape of each tensor that the network answers, by name."""
    if spec.task == "detect":
        return dict(_DETECT_TENSORS) if nms == "engine" else {CANDIDATES: ("TYPE_FP32", [spec.candidates, 6])}
    if spec.task == "shots":
        return {CUTS: ("TYPE_FP32", [spec.window_frames])}
    of_classes = ("TYPE_FP32", [len(spec.labels)])
    if spec.task == "classify":
        return {SCORES: of_classes}
    return {CLASS_MAP: ("TYPE_UINT8", [spec.height, spec.width]), SHARES: of_classes}


def image_ensemble_config(
    networks: Mapping[Task, ModelSpec], cards: Mapping[Task, ModelCard], *, nms: Nms = "python", by_name: bool = False
) -> ModelConfig:
    """`IMAGE` to the outputs of one or several tasks, `GEOMETRY` and `ERROR`; one decoding for all.

    Args:
        networks: The network of each task.
        cards: Theirs; where there is only one network, the ensemble carries its card.
        nms: Of the detector.
        by_name: Whether it is the ensemble of a single network by its name.
    """
    tasks = tuple(task for task in Task if task in networks)
    card = cards[tasks[0]] if len(tasks) == 1 else None
    name = named_ensemble(tasks[0].value, networks[tasks[0]].name) if by_name else image_ensemble(tasks)
    config = _ensemble(name, card, min(spec.max_batch_size for spec in networks.values()))
    _add(config.input, IMAGE, "TYPE_STRING", [1])
    # Tasks may share a view; its tensors in the ensemble are then those of the first.
    decoded = {ERROR: ERROR, geometry_tensor(_view(networks[tasks[0]])): GEOMETRY}
    for task in tasks:
        view = _view(networks[task])
        decoded.setdefault(view.name, f"{task.value}_{FRAMES}")
        if task in _IN_SOURCE:  # Triton refuses a tensor that nobody takes
            decoded.setdefault(geometry_tensor(view), f"{task.value}_{GEOMETRY}")
    _add_step(config, DECODE, {IMAGE: IMAGE}, decoded)
    for task in tasks:
        view = _view(networks[task])
        names = {name: joint_output(task, name) if len(tasks) > 1 else name for name in TASK_OUTPUTS[task]}
        geometry = decoded.get(geometry_tensor(view))
        _add_task(config, networks[task], cards[task], decoded[view.name], names, geometry=geometry, nms=nms)
    _add(config.output, GEOMETRY, "TYPE_FP32", [6])
    _add(config.output, ERROR, "TYPE_STRING", [1])
    return config


def frames_ensemble_config(
    task: Task, spec: ModelSpec, card: ModelCard, *, nms: Nms = "python", by_name: bool = False
) -> ModelConfig:
    """`FRAMES` to the task's outputs; boxes stay in input pixels, and areas are of the whole input."""
    name = named_ensemble(task.frames_ensemble, spec.name) if by_name else task.frames_ensemble
    config = _ensemble(name, card, spec.max_batch_size)
    _add(config.input, FRAMES, "TYPE_UINT8", spec.input_shape)
    _add_task(config, spec, card, FRAMES, {name: name for name in TASK_OUTPUTS[task]}, geometry=None, nms=nms)
    return config


def shots_ensemble_config(spec: ModelSpec, card: ModelCard) -> ModelConfig:
    """Windows of frames to `CUTS`."""
    config = _ensemble(SHOTS_ENSEMBLE, card, spec.max_batch_size)
    _add(config.input, FRAMES, "TYPE_UINT8", spec.input_shape)
    _add_step(config, spec.name, {FRAMES: FRAMES}, {CUTS: CUTS}, version=card.version)
    _add(config.output, CUTS, "TYPE_FP32", [spec.window_frames])
    return config


def geometry_tensor(view: View) -> str:
    """The output of `decode` that says where a picture lies in the view's input."""
    return f"{view.name}_{GEOMETRY}"


_IN_SOURCE: Final = (Task.DETECT, Task.SEGMENT)
"""Tasks whose answers are about places in the picture."""
_DETECT_TENSORS: Final[dict[str, tuple[str, Dims]]] = {
    BOXES: ("TYPE_FP32", [MAX_DETECTIONS, 4]),
    SCORES: ("TYPE_FP32", [MAX_DETECTIONS]),
    CLASSES: ("TYPE_INT32", [MAX_DETECTIONS]),
    COUNT: ("TYPE_INT32", [1]),
}


def _add_task(
    config: ModelConfig,
    spec: ModelSpec,
    card: ModelCard,
    frames: str,
    names: Mapping[str, str],
    *,
    geometry: str | None,
    nms: Nms,
) -> None:
    """Steps from the ensemble's tensor `frames` to the outputs, whose names in the ensemble are `names`."""
    task = Task(spec.task)
    inputs, outputs = {FRAMES: frames}, network_outputs(spec, nms="engine")
    if task is Task.DETECT and nms != "engine":
        candidates = f"{task.value}_{CANDIDATES}"
        _add_step(config, spec.name, inputs, {CANDIDATES: candidates}, version=card.version)
        taken = {CANDIDATES: candidates} | ({GEOMETRY: geometry} if geometry else {})
        _add_step(config, NMS_OF_KIND[nms], taken, names)
    elif task is Task.DETECT and geometry:
        boxes = f"{task.value}_INPUT_{BOXES}"
        _add_step(config, spec.name, inputs, {**names, BOXES: boxes}, version=card.version)
        _add_step(config, NMS_OF_KIND[nms], {BOXES: boxes, GEOMETRY: geometry}, {BOXES: names[BOXES]})
    elif task is Task.SEGMENT and geometry:
        of_input = {name: f"{task.value}_INPUT_{name}" for name in names}
        _add_step(config, spec.name, inputs, of_input, version=card.version)
        taken = {f"INPUT_{name}": tensor for name, tensor in of_input.items()}
        _add_step(config, AREAS, {**taken, GEOMETRY: geometry}, names)
    else:
        _add_step(config, spec.name, inputs, names, version=card.version)
    for name, renamed in names.items():
        _add(config.output, renamed, *outputs[name])


def _view(spec: ModelSpec) -> View:
    if spec.view is None:
        raise ValueError(f"{spec.name} has no view: it cannot be part of an image ensemble")
    return spec.view


def _network_model(spec: ModelSpec, runtime: str, settings: Settings) -> ModelConfig:
    if runtime == "openvino":
        config = _python_model(spec.name, spec.max_batch_size, settings.queue_delay_microseconds)
        return _instances(config, settings.network_instances, settings.batch_max_images)
    kinds = model_config_pb2.ModelInstanceGroup
    config = model_config_pb2.ModelConfig(name=spec.name, max_batch_size=spec.max_batch_size)
    if runtime == "tensorrt":
        config.platform, kind = "tensorrt_plan", kinds.KIND_GPU
    else:
        config.backend, kind = runtime, kinds.KIND_AUTO
    return _gathering(config, kind)


def _gpu_model(spec: ModelSpec, engine: str, smallest_batch: int) -> ModelConfig:
    """A Python backend that takes and gives tensors on the first GPU, see `backends/gpu_model.py`."""
    kinds = model_config_pb2.ModelInstanceGroup
    config = model_config_pb2.ModelConfig(name=spec.name, backend="python", max_batch_size=spec.max_batch_size)
    _set_parameters(
        config, {"runtime": engine, "smallest_batch": str(smallest_batch), "FORCE_CPU_ONLY_INPUT_TENSORS": "no"}
    )
    _gathering(config, kinds.KIND_GPU).instance_group[0].gpus.append(0)
    return config


def _openvino_parameters(spec: ModelSpec, precision: str, settings: Settings, one_by_one: bool) -> dict[str, str]:
    """Of the backend; those in upper case are OpenVINO's properties."""
    threads = settings.network_threads
    return {
        "INFERENCE_PRECISION_HINT": precision,
        "INFERENCE_NUM_THREADS": str(threads),
        "lone_threads": str(_lone_threads(spec, threads)),
        # Decoding runs on the same cores: a thread that is tied to a busy one makes all others wait.
        "ENABLE_CPU_PINNING": "NO",
        "items_per_inference": str(1 if one_by_one else PICTURES_PER_INFERENCE.get(spec.task, 1)),
    }


def _lone_threads(spec: ModelSpec, threads: int) -> int:
    """Threads for a picture that comes alone; windows for shots all do, in numbers, and are no hurry."""
    return threads if spec.task == "shots" else max(threads, min(this_machine().cores, LONE_THREADS))


def _behind_networks(name: str, settings: Settings) -> ModelConfig:
    """A backend that follows the networks, in as many processes as the settings say."""
    return _instances(_python_model(name, MAX_BATCH_SIZE), settings.nms_instances, settings.batch_max_images)


def _python_model(name: str, max_batch_size: int, queue_delay_microseconds: int = 0) -> ModelConfig:
    config = model_config_pb2.ModelConfig(name=name, backend="python", max_batch_size=max_batch_size)
    return _gathering(config, model_config_pb2.ModelInstanceGroup.KIND_CPU, queue_delay_microseconds)


def _gathering(config: ModelConfig, kind: int, queue_delay_microseconds: int = 0) -> ModelConfig:
    """With one instance, which computes what several requests bring as one batch.

    By the rule no request waits for others to share its batch: what comes while a batch is computed shares the next
    one, and half a millisecond at each of three models was a twentieth of the time that a lone image takes.
    """
    config.dynamic_batching.max_queue_delay_microseconds = queue_delay_microseconds
    config.instance_group.add(count=1, kind=kind)
    return config


def _instances(config: ModelConfig, count: int, batch: int) -> ModelConfig:
    """Several processes; what waits is then not joined beyond a batch, so that none has it all while others idle."""
    config.instance_group[0].count = count
    if count > 1:
        config.dynamic_batching.preferred_batch_size.append(min(batch, config.max_batch_size))
    return config


def _ensemble(name: str, card: ModelCard | None, max_batch_size: int) -> ModelConfig:
    config = model_config_pb2.ModelConfig(name=name, platform="ensemble", max_batch_size=max_batch_size)
    if card is not None:
        _set_parameters(config, {CARD_PARAMETER: card.model_dump_json()})
    return config


def _add(tensors: Any, name: str, data_type: str, dims: Dims) -> Any:
    return tensors.add(name=name, data_type=model_config_pb2.DataType.Value(data_type), dims=dims)


def _add_step(
    config: ModelConfig, model: str, inputs: Mapping[str, str], outputs: Mapping[str, str], *, version: str = "-1"
) -> None:
    """A step that runs no other version of the model, where one is named.

    So no ensemble ever runs another network than the one whose card it carries.
    """
    step = config.ensemble_scheduling.step.add(model_name=model, model_version=int(version))
    step.input_map.update(inputs)
    step.output_map.update(outputs)


def _set_parameters(config: ModelConfig, values: Mapping[str, str]) -> None:
    for key, value in values.items():
        config.parameters[key].string_value = value

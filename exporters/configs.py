"""Triton configurations, as Triton's own protobuf messages, of everything in the model repository."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from exporters.catalog import ModelSpec
from reeltag.contract import (
    BOXES,
    CANDIDATES,
    CARD_PARAMETER,
    CLASSES,
    COUNT,
    CUTS,
    ERROR,
    FRAMES,
    GEOMETRY,
    IMAGE,
    MAX_BATCH_SIZE,
    SCORES,
    SHOT_WINDOW_FRAMES,
    SHOTS_ENSEMBLE,
    TASK_OUTPUTS,
    VIEWS_PARAMETER,
    ModelCard,
    Task,
    image_ensemble,
    joint_output,
)
from reeltag.frames import View
from reeltag.triton import model_config_pb2

ModelConfig = Any
"""`model_config_pb2.ModelConfig`; tritonclient publishes no type information."""

DECODE: Final = "decode"
NMS: Final = "nms"
LABELS_FILE: Final = "labels.txt"
QUEUE_DELAY_MICROSECONDS: Final = 500
"""How long a request waits for others to share its batch; small against the milliseconds that one image takes."""
PICTURES_PER_INFERENCE: Final = 4
"""Most pictures that one thread computes at once: more are no faster on a CPU, and each takes 20 to 40 MiB for good."""
MAX_DETECTIONS: Final = 100
"""M, the most boxes of a picture."""
SCORE_THRESHOLD: Final = 0.01
"""Boxes with a lower score are never answered; clients choose higher ones."""
IOU_THRESHOLD: Final = 0.65
"""Two boxes of one class that overlap more are one object: YOLOX's published value, as good for NanoDet."""


def decode_config(views: Sequence[View], *, threads: int) -> ModelConfig:
    """`IMAGE` to the pixels and geometry of each view, and `ERROR`."""
    config = _python_model(DECODE, MAX_BATCH_SIZE)
    _add(config.input, IMAGE, "TYPE_STRING", [1])
    for view in views:
        _add(config.output, view.name, "TYPE_UINT8", [view.height, view.width, 3])
        _add(config.output, geometry_tensor(view), "TYPE_FP32", [6])
    _add(config.output, ERROR, "TYPE_STRING", [1])
    _set_parameters(config, {VIEWS_PARAMETER: json.dumps([view.name for view in views]), "threads": str(threads)})
    return config


def nms_config(candidates: int) -> ModelConfig:
    """`CANDIDATES`, and on the image path `GEOMETRY`, to `BOXES`, `SCORES`, `CLASSES` and `COUNT`."""
    config = _python_model(NMS, MAX_BATCH_SIZE)
    _add(config.input, CANDIDATES, "TYPE_FP32", [candidates, 6])
    _add(config.input, GEOMETRY, "TYPE_FP32", [6]).optional = True
    for name in TASK_OUTPUTS[Task.DETECT]:
        _add(config.output, name, *_DETECT_TENSORS[name])
    _set_parameters(config, {"score_threshold": str(SCORE_THRESHOLD), "iou_threshold": str(IOU_THRESHOLD)})
    return config


def network_config(spec: ModelSpec, *, precision: str, threads: int) -> ModelConfig:
    """The network itself, run by OpenVINO in the Python backend; upper-case parameters are OpenVINO's properties."""
    config = _python_model(spec.name, spec.max_batch_size)
    _add(config.input, FRAMES, "TYPE_UINT8", spec.input_shape)
    name, dims = network_output(spec)
    output = _add(config.output, name, "TYPE_FP32", dims)
    if spec.task == "classify":
        output.label_filename = LABELS_FILE
    properties = {
        "INFERENCE_PRECISION_HINT": precision,
        "INFERENCE_NUM_THREADS": str(threads),
        # Decoding runs on the same cores: a thread that is tied to a busy one makes all others wait.
        "ENABLE_CPU_PINNING": "NO",
        "items_per_inference": str(1 if spec.task == "shots" else PICTURES_PER_INFERENCE),
    }
    _set_parameters(config, properties)
    return config


def network_output(spec: ModelSpec) -> tuple[str, list[int]]:
    """Name and shape, without the batch axis, of the network's only output."""
    if spec.task == "detect":
        return CANDIDATES, [spec.candidates, 6]
    return (SCORES, [len(spec.labels)]) if spec.task == "classify" else (CUTS, [SHOT_WINDOW_FRAMES])


def image_ensemble_config(networks: Mapping[Task, ModelSpec], card: ModelCard | None) -> ModelConfig:
    """`IMAGE` to the outputs of one or several tasks, `GEOMETRY` and `ERROR`; one decoding for all.

    Args:
        networks: The network of each task.
        card: Of the only network; none where there are several.
    """
    tasks = tuple(task for task in Task if task in networks)
    config = _ensemble(image_ensemble(tasks), card)
    _add(config.input, IMAGE, "TYPE_STRING", [1])
    pixels = {task: f"{task.value}_{FRAMES}" for task in tasks}
    geometry_owner = networks[tasks[0]]
    decoded = {ERROR: ERROR, geometry_tensor(_view(geometry_owner)): GEOMETRY}
    for task in tasks:
        # Two networks may share a view; the ensemble's tensor is then that of the first.
        pixels[task] = decoded.setdefault(_view(networks[task]).name, pixels[task])
    _add_step(config, DECODE, {IMAGE: IMAGE}, decoded)
    for task in tasks:
        names = {name: joint_output(task, name) if len(tasks) > 1 else name for name in TASK_OUTPUTS[task]}
        _add_task(config, task, networks[task], pixels[task], names, geometry=GEOMETRY)
    _add(config.output, GEOMETRY, "TYPE_FP32", [6])
    _add(config.output, ERROR, "TYPE_STRING", [1])
    return config


def frames_ensemble_config(task: Task, spec: ModelSpec, card: ModelCard) -> ModelConfig:
    """`FRAMES` to the task's outputs; boxes stay in input pixels."""
    config = _ensemble(task.frames_ensemble, card)
    _add(config.input, FRAMES, "TYPE_UINT8", spec.input_shape)
    _add_task(config, task, spec, FRAMES, {name: name for name in TASK_OUTPUTS[task]}, geometry=None)
    return config


def shots_ensemble_config(spec: ModelSpec, card: ModelCard) -> ModelConfig:
    """Windows of frames to `CUTS`."""
    config = _ensemble(SHOTS_ENSEMBLE, card)
    config.max_batch_size = spec.max_batch_size
    _add(config.input, FRAMES, "TYPE_UINT8", spec.input_shape)
    _add_step(config, spec.name, {FRAMES: FRAMES}, {CUTS: CUTS})
    _add(config.output, CUTS, "TYPE_FP32", [SHOT_WINDOW_FRAMES])
    return config


def geometry_tensor(view: View) -> str:
    """The output of `decode` that says where a picture lies in the view's input."""
    return f"{view.name}_{GEOMETRY}"


_DETECT_TENSORS: Final = {
    BOXES: ("TYPE_FP32", [MAX_DETECTIONS, 4]),
    SCORES: ("TYPE_FP32", [MAX_DETECTIONS]),
    CLASSES: ("TYPE_INT32", [MAX_DETECTIONS]),
    COUNT: ("TYPE_INT32", [1]),
}


def _add_task(
    config: ModelConfig, task: Task, spec: ModelSpec, frames: str, names: Mapping[str, str], *, geometry: str | None
) -> None:
    """Steps from the ensemble's tensor `frames` to the outputs, whose names in the ensemble are `names`."""
    if task is Task.DETECT:
        candidates = f"{task.value}_{CANDIDATES}"
        _add_step(config, spec.name, {FRAMES: frames}, {CANDIDATES: candidates})
        inputs = {CANDIDATES: candidates} | ({GEOMETRY: geometry} if geometry else {})
        _add_step(config, NMS, inputs, names)
        for name, renamed in names.items():
            _add(config.output, renamed, *_DETECT_TENSORS[name])
    else:
        _add_step(config, spec.name, {FRAMES: frames}, names)
        _add(config.output, names[SCORES], "TYPE_FP32", [len(spec.labels)])


def _view(spec: ModelSpec) -> View:
    if spec.view is None:
        raise ValueError(f"{spec.name} has no view: it cannot be part of an image ensemble")
    return spec.view


def _python_model(name: str, max_batch_size: int) -> ModelConfig:
    config = model_config_pb2.ModelConfig(name=name, backend="python", max_batch_size=max_batch_size)
    config.dynamic_batching.max_queue_delay_microseconds = QUEUE_DELAY_MICROSECONDS
    config.instance_group.add(count=1, kind=model_config_pb2.ModelInstanceGroup.KIND_CPU)
    return config


def _ensemble(name: str, card: ModelCard | None) -> ModelConfig:
    config = model_config_pb2.ModelConfig(name=name, platform="ensemble", max_batch_size=MAX_BATCH_SIZE)
    if card is not None:
        _set_parameters(config, {CARD_PARAMETER: card.model_dump_json()})
    return config


def _add(tensors: Any, name: str, data_type: str, dims: Sequence[int]) -> Any:
    return tensors.add(name=name, data_type=model_config_pb2.DataType.Value(data_type), dims=dims)


def _add_step(config: ModelConfig, model: str, inputs: Mapping[str, str], outputs: Mapping[str, str]) -> None:
    step = config.ensemble_scheduling.step.add(model_name=model, model_version=-1)
    step.input_map.update(inputs)
    step.output_map.update(outputs)


def _set_parameters(config: ModelConfig, values: Mapping[str, str]) -> None:
    for key, value in values.items():
        config.parameters[key].string_value = value

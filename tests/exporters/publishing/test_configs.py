from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import text_format  # type: ignore[import-untyped,unused-ignore]  # without types-protobuf

from exporters.catalogue.entries import MODELS
from exporters.publishing import repository
from exporters.publishing.artefact import bundled_artefact, cpu_has_bf16
from exporters.publishing.configs import decode_config
from exporters.publishing.contents import task_folders
from reeltag import contract
from reeltag.contract import BUNDLED_TASKS, ModelCard
from reeltag.frames import View
from reeltag.settings import Settings
from reeltag.triton_connection import model_config_pb2

FOLDERS = {
    *("nanodet_g", "efficientnet_lite0", "transnetv2", "decode", "nms"),
    *("detect", "detect_frames", "classify", "classify_frames", "shots", "detect_classify"),
    *("detect.nanodet_g", "detect_frames.nanodet_g", "classify.efficientnet_lite0"),
    "classify_frames.efficientnet_lite0",
}


@pytest.fixture(scope="module")
def configs(model_repository: Path) -> dict[str, Any]:
    return {folder.name: read_config(folder) for folder in model_repository.iterdir()}


def read_config(folder: Path) -> Any:
    return text_format.Parse((folder / "config.pbtxt").read_text("utf-8"), model_config_pb2.ModelConfig())


@pytest.mark.parametrize(("gpus", "kind", "numbers"), [("none", 2, []), ("first", 1, [0]), ("all", 0, [])])
def test_pictures_are_decoded_where_networks_run(gpus: Any, kind: int, numbers: list[int]) -> None:
    (group,) = decode_config([View.parse("LETTERBOX_8X8_PAD0")], Settings(), gpus=gpus).instance_group
    kinds = model_config_pb2.ModelInstanceGroup
    assert (group.kind, list(group.gpus)) == (kind, numbers)
    assert (kinds.KIND_CPU, kinds.KIND_GPU, kinds.KIND_AUTO) == (2, 1, 0)


def test_a_repository_for_gpus_decodes_there_too() -> None:
    artefact = bundled_artefact(MODELS["nanodet_g"])
    passport = artefact.passport.model_copy(update={"runtime": "onnxruntime"})
    for one, kind in ((artefact, 2), (replace(artefact, passport=passport), 0)):
        folders = {made.name: made for made in task_folders([one], {"nanodet_g": one.card})}
        assert folders["decode"].config.instance_group[0].kind == kind


def names(tensors: Any) -> set[str]:
    return {tensor.name for tensor in tensors}


def test_every_folder_has_a_config_that_parses_and_a_version(configs: dict[str, Any], model_repository: Path) -> None:
    assert set(configs) == FOLDERS
    for name, config in configs.items():
        assert config.name == name
        (version,) = (path for path in (model_repository / name).iterdir() if path.is_dir())
        assert int(version.name) >= 1


def fits(dims: Sequence[int], of_model: Sequence[int]) -> bool:
    """Whether a tensor of an ensemble has the shape of the model's, which may leave sizes open."""
    return len(dims) == len(of_model) and all(own in (size, -1) for size, own in zip(dims, of_model, strict=True))


def check_steps(configs: dict[str, Any]) -> None:
    """What Triton checks when it loads an ensemble, for all of them."""
    for config in configs.values():
        available, read = names(config.input), names(config.output)
        for step in config.ensemble_scheduling.step:
            model = configs[step.model_name]
            required = {tensor.name for tensor in model.input if not tensor.optional}
            assert required <= set(step.input_map) <= names(model.input)
            assert set(step.output_map) <= names(model.output)
            assert set(step.input_map.values()) <= available
            assert not set(step.output_map.values()) & available, "a tensor has two sources"
            available |= set(step.output_map.values())
            read |= set(step.input_map.values())
            for name, tensor in step.output_map.items():
                of_ensemble = [output for output in config.output if output.name == tensor]
                of_model = next(output for output in model.output if output.name == name)
                assert all(t.data_type == of_model.data_type for t in of_ensemble)
                assert all(fits(t.dims, of_model.dims) for t in of_ensemble)
        if config.platform == "ensemble":
            assert read == available, "a tensor has no source, or nobody reads it"


def test_steps_refer_to_tensors_that_exist(configs: dict[str, Any]) -> None:
    check_steps(configs)


def test_ensembles_answer_what_the_contract_says(configs: dict[str, Any]) -> None:
    of_image = {contract.GEOMETRY, contract.ERROR}
    for task in BUNDLED_TASKS:
        assert names(configs[task.value].output) == {*task.outputs, *of_image}
        assert names(configs[task.frames_ensemble].output) == set(task.outputs)
    joint = {contract.joint_output(task, name) for task in BUNDLED_TASKS for name in task.outputs}
    assert names(configs["detect_classify"].output) == joint | of_image
    assert names(configs["shots"].output) == {contract.CUTS}


def test_boxes_of_frames_stay_in_input_pixels(configs: dict[str, Any]) -> None:
    nms = {name: configs[name].ensemble_scheduling.step[-1] for name in ("detect", "detect_frames")}
    assert contract.GEOMETRY in nms["detect"].input_map
    assert contract.GEOMETRY not in nms["detect_frames"].input_map


def test_cards_describe_the_networks(configs: dict[str, Any]) -> None:
    with_card = {name for name, config in configs.items() if contract.CARD_PARAMETER in config.parameters}
    ensembles = {"detect", "detect_frames", "classify", "classify_frames", "shots"}
    by_name = {name for name in with_card if "." in name}
    assert with_card == ensembles | by_name | MODELS.keys()
    for name in ensembles:
        card = ModelCard.model_validate_json(configs[name].parameters[contract.CARD_PARAMETER].string_value)
        spec = MODELS[card.network]
        assert card.labels == spec.labels
        assert (card.height, card.width, card.runtime) == (spec.height, spec.width, "openvino")
        if card.view:
            assert card.frames_view() == spec.view
        if name.endswith("frames"):
            assert list(configs[name].input[0].dims) == [card.height, card.width, 3]


def test_decode_knows_the_views_of_the_networks(configs: dict[str, Any]) -> None:
    views = json.loads(configs["decode"].parameters[contract.VIEWS_PARAMETER].string_value)
    assert {View.parse(name) for name in views} == {spec.view for spec in MODELS.values() if spec.view}
    assert set(views) <= names(configs["decode"].output)


def test_batches_are_bounded_and_gathered(configs: dict[str, Any]) -> None:
    shots = {"shots", "transnetv2"}
    assert {configs[name].max_batch_size for name in FOLDERS - shots} == {contract.MAX_BATCH_SIZE}
    assert len({configs[name].max_batch_size for name in shots}) == 1
    for name in {"decode", "nms", *MODELS}:
        assert configs[name].HasField("dynamic_batching")
        assert configs[name].dynamic_batching.max_queue_delay_microseconds == 0, "a lone image does not wait"


def test_the_precision_reaches_the_backend_and_the_card(tmp_path: Path) -> None:
    bundled = bundled_artefact(MODELS["efficientnet_lite0"])
    passport = bundled.passport.model_copy(update={"precision": "bf16", "exported": True})
    repository.publish(tmp_path, [replace(bundled, passport=passport)])
    hint = read_config(tmp_path / "efficientnet_lite0").parameters["INFERENCE_PRECISION_HINT"].string_value
    assert hint == ("bf16" if cpu_has_bf16() else "f32")
    card = read_config(tmp_path / "classify").parameters[contract.CARD_PARAMETER].string_value
    assert json.loads(card)["precision"] == "bf16"

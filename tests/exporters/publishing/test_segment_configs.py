"""The folders around a segmenter, beside the networks that come with reeltag."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from exporters.catalogue.entries import CHECKPOINT_MODELS, customised
from exporters.catalogue.palettes import CITYSCAPES19
from exporters.publishing import repository
from exporters.publishing.artefact import Artefact
from exporters.publishing.exported import artefacts_in
from exporters.publishing.passport import Passport
from reeltag import areas, contract
from reeltag.contract import ModelCard, Task
from reeltag.frames import Fit, View
from reeltag.palettes import default_palette
from tests.exporters.publishing.test_configs import check_steps, names, read_config

SWIFTNET = CHECKPOINT_MODELS["swiftnet_rn18"]


def segmenter(folder: Path, view: View | None = None) -> Artefact:
    """Everything but the network."""
    file = folder / "model.onnx"
    file.write_bytes(b"a graph")
    spec = customised(SWIFTNET, (64, 96), SWIFTNET.labels)
    passport = Passport(runtime="openvino", precision="fp32", exported=True)
    return Artefact(replace(spec, view=view or spec.view), file, passport)


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("segmenter") / "repository"
    repository.publish(target)
    repository.publish(target, [segmenter(target.parent)])
    return target


@pytest.fixture(scope="module")
def configs(published: Path) -> dict[str, Any]:
    return {folder.name: read_config(folder) for folder in published.iterdir()}


def test_every_combination_of_tasks_has_its_ensemble(configs: dict[str, Any]) -> None:
    check_steps(configs)
    for count in (1, 2, 3):
        for tasks in itertools.combinations(Task, count):
            outputs = {contract.joint_output(t, name) if count > 1 else name for t in tasks for name in t.outputs}
            config = configs[contract.image_ensemble(tasks)]
            assert names(config.output) == outputs | {contract.GEOMETRY, contract.ERROR}
            assert sum(step.model_name == "decode" for step in config.ensemble_scheduling.step) == 1
    assert names(configs["segment_frames"].output) == {contract.CLASS_MAP, contract.SHARES}


def test_the_border_is_left_out_with_the_geometry_of_the_segmenters_own_view(configs: dict[str, Any]) -> None:
    for name in ("segment", "detect_segment", "classify_segment", "detect_classify_segment"):
        decode, *_, last = configs[name].ensemble_scheduling.step
        assert last.model_name == "areas"
        geometry = last.input_map[contract.GEOMETRY]
        (source,) = (tensor for tensor, renamed in decode.output_map.items() if renamed == geometry)
        assert source == "LETTERBOX_64X96_PAD0_GEOMETRY"
    assert [step.model_name for step in configs["segment_frames"].ensemble_scheduling.step] == ["swiftnet_rn18"]


def test_networks_that_share_a_view_are_decoded_for_once(tmp_path: Path) -> None:
    repository.publish(tmp_path / "repository", ["nanodet_g", segmenter(tmp_path, View(Fit.LETTERBOX, 416, 416, 114))])
    configs = {folder.name: read_config(folder) for folder in (tmp_path / "repository").iterdir()}
    check_steps(configs)
    assert len(configs["detect_segment"].ensemble_scheduling.step[0].output_map) == 3


def test_the_backend_gets_the_sources_of_what_it_imports(published: Path) -> None:
    assert (published / "areas" / "1" / "areas.py").read_bytes() == Path(areas.__file__).read_bytes()
    assert (published / "areas" / "1" / "model.py").is_file()


def test_the_card_has_the_colours_until_the_classes_are_others(published: Path, tmp_path: Path) -> None:
    (spec,) = (artefact.spec for artefact in artefacts_in(published) if artefact.spec.task == "segment")
    assert spec.colours == CITYSCAPES19
    own = replace(segmenter(tmp_path), spec=customised(SWIFTNET, (64, 96), ("sea", "land")))
    assert own.card.colours == ()
    assert own.card.palette == default_palette(2)
    with pytest.raises(ValidationError, match="19 colours for 2 classes"):
        ModelCard(**own.card.model_dump() | {"colours": CITYSCAPES19})


def test_made_up_colours_differ_and_none_is_black() -> None:
    colours = default_palette(255)
    assert len(set(colours)) == 255
    assert (0, 0, 0) not in colours
    assert colours[:3] == ((128, 0, 0), (0, 128, 0), (128, 128, 0))
    assert default_palette(19) == colours[:19]

from __future__ import annotations

from hashlib import sha256

import pytest

from exporters.catalogue.entries import MODELS, ModelSpec, model_spec
from reeltag.errors import UnknownModel

LARGEST_BUNDLE_BYTES = 35_000_000


@pytest.fixture(params=list(MODELS))
def spec(request: pytest.FixtureRequest) -> ModelSpec:
    return MODELS[request.param]


def test_labels_are_unique_clean_and_as_many_as_the_classes() -> None:
    counts = {"nanodet_g": 80, "efficientnet_lite0": 1000, "transnetv2": 0}
    for name, count in counts.items():
        labels = MODELS[name].labels
        assert len(labels) == count
        assert len({label.lower() for label in labels}) == count
        assert all(label and label == label.strip() for label in labels)


def test_well_known_classes_have_their_index() -> None:
    imagenet = MODELS["efficientnet_lite0"].labels
    assert [imagenet[i] for i in (0, 134, 517, 920, 999)] == [
        "tench",
        "crane (bird)",
        "crane (machine)",
        "traffic light",
        "toilet paper",
    ]
    assert [MODELS["nanodet_g"].labels[i] for i in (0, 2, 79)] == ["person", "car", "toothbrush"]


def test_an_unknown_name_lists_what_there_is() -> None:
    with pytest.raises(UnknownModel, match=r"'yolo'.*nanodet_g, efficientnet_lite0, transnetv2"):
        model_spec("yolo")


def test_the_view_fills_the_input(spec: ModelSpec) -> None:
    if spec.view is not None:
        assert (spec.view.height, spec.view.width, 3) == spec.input_shape


def test_the_bundle_is_small_enough_to_commit() -> None:
    assert sum(spec.onnx_path.stat().st_size for spec in MODELS.values()) < LARGEST_BUNDLE_BYTES


def test_the_readme_states_the_hash_of_each_bundled_graph(spec: ModelSpec) -> None:
    readme = (spec.onnx_path.parent / "README.md").read_text("utf-8")
    assert sha256(spec.onnx_path.read_bytes()).hexdigest() in readme

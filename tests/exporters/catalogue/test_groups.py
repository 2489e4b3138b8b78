from __future__ import annotations

import json
from pathlib import Path

import pytest

from exporters.catalogue.entries import MODELS
from exporters.catalogue.groups import read_groups

LABELS = ("taxi", "limousine", "moped", "tench")


def written(tmp_path: Path, *levels: dict[str, list[str]]) -> Path:
    path = tmp_path / "groups.json"
    path.write_text(json.dumps(levels))
    return path


def test_a_broad_group_holds_classes_and_narrower_groups(tmp_path: Path) -> None:
    path = written(tmp_path, {"car": ["limousine", "taxi"]}, {"vehicle": ["moped", "car"]})
    assert read_groups(path, LABELS) == {"car": (0, 1), "vehicle": (0, 1, 2)}


@pytest.mark.parametrize(
    ("levels", "complaint"),
    [
        ([{"car": ["taxi", "jeep"]}], "'car' has members that are no classes: jeep"),
        ([{"car": ["taxi"], "cab": ["taxi"]}], "'taxi' is in two groups of one level: 'car' and 'cab'"),
        ([{"car": ["taxi", "taxi"]}], "'taxi' is in two groups of one level: 'car' and 'car'"),
        ([{"tench": ["tench"]}], "names that are taken: tench"),
        ([{"car": ["taxi"]}, {"car": ["moped"]}], "names that are taken: car"),
    ],
)
def test_mistakes_in_the_file_are_named(tmp_path: Path, levels: list[dict[str, list[str]]], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        read_groups(written(tmp_path, *levels), LABELS)


def test_the_groups_of_imagenet_hold_what_a_person_would_expect() -> None:
    spec = MODELS["efficientnet_lite0"]
    groups = {name: {spec.labels[index] for index in indexes} for name, indexes in spec.groups.items()}
    assert {"taxi", "car mirror", "radiator grille", "school bus"} <= groups["car, bus or truck"] < groups["vehicle"]
    assert {"moped", "mountain bike"} <= groups["bicycle or motorcycle"] < groups["vehicle"]
    assert groups["cat"] | groups["bird"] | {"beagle", "pug"} < groups["animal"]
    assert "gas pump" not in set().union(*groups.values())
    assert not groups["animal"] & groups["vehicle"]


def test_networks_without_a_groups_file_have_none() -> None:
    assert MODELS["nanodet_g"].groups == {}

from __future__ import annotations

import json
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from reeltag.tags import SCHEMA_VERSION, VideoTags, json_schema

PUBLISHED = Path(__file__).parents[2] / "docs" / "schema" / f"tags-{SCHEMA_VERSION}.json"


def test_the_published_schema_is_current() -> None:
    expected = json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"
    assert PUBLISHED.read_text() == expected, f"write this into {PUBLISHED.name}:\n{expected}"


def test_the_published_schema_is_a_schema() -> None:
    Draft202012Validator.check_schema(json.loads(PUBLISHED.read_text()))


@pytest.mark.parametrize("version", ["1.0", "1.1", "1.2"])
def test_files_of_earlier_versions_remain_valid(version: str) -> None:
    old = {
        "schema_version": version,
        "kind": "video",
        "source": {
            "name": "a.mp4",
            "sha256": "0",
            "duration_seconds": 1.0,
            "width": 2,
            "height": 2,
            "frame_rate": 25.0,
        },
        "shots": [{"start_seconds": 0.0, "end_seconds": 1.0}],
        "tags": [],
        "frames": [{"pts_seconds": 0.0, "detections": []}],
        "coverage": {"frames_decoded": 25, "frames_sampled": 1, "gaps": []},
        "provenance": {"reeltag_version": "0.1", "models": [], "options": {}},
    }
    Draft202012Validator(json.loads(PUBLISHED.with_name(f"tags-{version}.json").read_text())).validate(old)
    Draft202012Validator(json.loads(PUBLISHED.read_text())).validate(old)
    assert VideoTags.model_validate(old).shots[0].objects == ()

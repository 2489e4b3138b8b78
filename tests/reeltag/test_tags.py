from __future__ import annotations

import jsonschema
import numpy as np
import pytest
from pydantic import ValidationError

from reeltag import errors
from reeltag.readings import detections_of, image_tags_of
from reeltag.tags import Detection, Shot, json_schema


def test_detections_come_by_falling_score_above_the_threshold() -> None:
    boxes = np.array([[0, 0, 10, 10], [1.26, 2, 3, 4.04], [5, 5, 6, 6]], np.float32)
    scores = np.array([0.2, 0.9, 0.31], np.float32)
    classes = np.array([0, 1, 0], np.int32)
    found = detections_of(boxes, scores, classes, ("cat", "dog"), score_threshold=0.3)
    assert [d.label for d in found] == ["dog", "cat"]
    assert found[0].box == (1.3, 2, 3, 4)  # exactly: a float32 would show as 1.2999999523
    assert found[0].score == pytest.approx(0.9)
    assert len(detections_of(boxes, scores, classes, ("cat", "dog"), score_threshold=0, top_k=1)) == 1


def test_image_tags_are_the_best_classes() -> None:
    scores = np.array([0.1, 0.6, 0.3], np.float32)
    found = image_tags_of(scores, ("a", "b", "c"), "net", score_threshold=0.2, top_k=5)
    assert [(t.label, t.model) for t in found] == [("b", "net"), ("c", "net")]


def test_results_refuse_what_is_out_of_range() -> None:
    with pytest.raises(ValidationError):
        Detection(label="x", score=1.5, box=(0, 0, 1, 1))
    with pytest.raises(ValidationError):
        Shot(start_seconds=-1, end_seconds=2)


def test_the_schema_is_a_valid_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(json_schema())


def test_every_error_has_a_status_a_grpc_code_and_a_name() -> None:
    def family(kind: type[errors.ReeltagError]) -> list[type[errors.ReeltagError]]:
        return [kind, *(one for child in kind.__subclasses__() for one in family(child))]

    documented = errors.__doc__ or ""
    for kind in family(errors.ReeltagError):
        if kind.__module__ != errors.__name__:
            continue  # made by another test
        assert kind.__name__ in documented
        error = kind("not_an_image", "text") if kind is errors.ImageRejected else kind("text")
        assert 400 <= error.http_status < 600
        assert error.grpc_code.isupper()
        assert error.code == error.code.lower()
    assert errors.UnknownTask("x").code == "unknown_task"
    assert errors.ImageRejected("not_an_image", "x").http_status == 415

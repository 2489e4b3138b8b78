"""Networks that are exchanged while files are tagged: a result is by one set of networks, and says by which."""

from __future__ import annotations

import json
from pathlib import Path

from reeltag.contract import Task
from tests.vod.fake import DETECTOR, LABELS, FakeTagger
from tests.vod.media import RED, picture
from tests.vod.test_tagging import result, spans, tag
from vod.images import BATCH
from vod.outcome import Status
from vod.stores.thumbnails import encode

ENSEMBLE = Task.DETECT.frames_ensemble
OTHERS = ("lorry", "pedestrian")


def replaced_at(*requests: int, side: int = DETECTOR.width) -> FakeTagger:
    """A server that has a new detector from each of these requests on."""
    client = FakeTagger()
    view = f"LETTERBOX_{side}X{side}_PAD0"
    for request in requests:
        changes = {"labels": OTHERS, "view": view, "height": side, "width": side, "sha256": f"replaced at {request}"}
        client.replace(request, ENSEMBLE, changes)
    return client


def test_a_video_is_begun_anew_with_the_new_network(three_colours: Path, tmp_path: Path) -> None:
    for number, client in enumerate((replaced_at(8), replaced_at(8, side=96))):
        out = tmp_path / str(number)
        (outcome,) = tag([three_colours], out, client, fps=25.0)
        assert outcome.status is Status.TAGGED, outcome.message
        tags = result(out, three_colours)
        assert spans(tags, "lorry") == [(0, 1)]
        assert not {found.label for found in tags.tags} & set(LABELS)
        assert {model.sha256 for model in tags.provenance.models if model.task == "detect"} == {"replaced at 8"}
        assert tags.coverage.frames_sampled == 75


def test_one_that_is_never_tagged_by_the_same_networks_fails_alone(three_colours: Path, tmp_path: Path) -> None:
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(encode(picture(RED, 64, 64)))
    photographed, filmed = tag([photo, three_colours], tmp_path / "out", replaced_at(*range(3, 300, 3)), fps=25.0)
    assert photographed.status is Status.TAGGED
    assert filmed.status is Status.FAILED
    assert "another network" in filmed.message
    assert not list((tmp_path / "out").rglob("colours.*.tags.json"))


def test_each_image_names_the_network_that_saw_it(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(4 * BATCH):
        (photos / f"{number}.jpg").write_bytes(encode(picture(RED, 64, 64, shade=number % 5)))
    outcomes = tag([photos], tmp_path / "out", replaced_at(3))
    assert {outcome.status for outcome in outcomes} == {Status.TAGGED}
    seen = set()
    for file in (tmp_path / "out").rglob("*.tags.json"):
        tags = json.loads(file.read_text())
        (detector,) = (model for model in tags["provenance"]["models"] if model["task"] == "detect")
        seen.add((detector["sha256"], *(found["label"] for found in tags["detections"])))
    assert seen == {("sha of detect", "car"), ("replaced at 3", "lorry")}

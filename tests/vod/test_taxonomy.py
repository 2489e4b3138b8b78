from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporters.catalogue.entries import MODELS
from reeltag.errors import InvalidOption
from tests.vod.fake import FakeTagger
from tests.vod.media import GREEN, RED, picture
from tests.vod.test_tagging import result, spans, tag
from vod.options import Hysteresis
from vod.outcome import Status
from vod.stores.thumbnails import encode
from vod.taxonomy import MAX_DEPTH, Taxonomy, parse_taxonomy, read_taxonomy

EXAMPLE = Path(__file__).parents[2] / "docs" / "taxonomies" / "iab-content-3.1.json"


def parsed(**fields: Any) -> Taxonomy:
    return parse_taxonomy(json.dumps({"name": "mine", **fields}).encode(), "mine.json")


def test_the_example_is_right_for_the_bundled_networks() -> None:
    taxonomy = read_taxonomy(EXAMPLE)
    labels = {label for spec in MODELS.values() for label in (*spec.labels, *spec.groups)}
    taxonomy.check_labels(labels)
    members = taxonomy.members()
    assert {"car", "convertible", "motorcycle"} <= members["1"]  # Automotive
    assert "motorcycle" not in members["2"]  # Auto Body Styles
    assert members["472"] <= members["464"]


def test_what_a_file_says() -> None:
    taxonomy = parsed(thresholds={"tie": 0.6, "cup": {"high": 0.9, "low": 0.2}, "bus": 1}, allow=["tie", "bus"])
    usual = Hysteresis(high=0.5, low=0.4)
    assert taxonomy.hysteresis("tie", usual) == Hysteresis(high=0.6, low=0.48)
    assert taxonomy.hysteresis("cup", usual) == Hysteresis(high=0.9, low=0.2)
    assert taxonomy.hysteresis("car", usual) == usual
    assert (taxonomy.high("bus", 0.35), taxonomy.high("car", 0.35), taxonomy.floor(0.95)) == (1, 0.35, 0.6)
    assert [label for label in ("tie", "cup", "bus") if taxonomy.keeps(label)] == ["tie", "bus"]
    assert all(Taxonomy().keeps(label) for label in ("tie", "cup"))


WRONG: list[tuple[Any, str]] = [
    (
        {"categories": [{"id": "1", "name": "a"}, {"id": "1", "name": "b"}]},
        r"categories\[1\]\.id is '1', as that of categories\[0\]",
    ),
    (
        {"categories": [{"id": "cars", "name": "a"}, {"id": "b", "parent": "car", "name": "b"}]},
        r"categories\[1\]\.parent is 'car'.*is it 'cars'\?",
    ),
    (
        {"categories": [{"id": "1", "parent": "1", "name": "a"}]},
        r"categories\[0\] \('1'\) is its own parent; leave `parent` out",
    ),
    (
        {"categories": [{"id": c, "parent": p, "name": c} for c, p in ("ab", "bc", "ca", "da")]},
        "circle: a -> b -> c -> a",
    ),
    ({"categories": [{"id": "1"}]}, r"categories\[0\]\.name is missing"),
    ({"categories": [{"id": 1, "name": "a"}]}, r"categories\[0\]\.id is 1: input should be a valid string"),
    ({"categories": [{"id": "1", "name": "a", "label": []}]}, r"categories\[0\]\.label is no field; is it 'labels'\?"),
    ({"category": []}, r"category is no field; is it 'categories'\?"),
    ({"thresholds": {"car": 1.5}}, r"thresholds\.car is 1\.5, but must be from 0 to 1"),
    ({"thresholds": {"car": "0.5"}}, r"thresholds\.car must be a number from 0 to 1, or"),
    ({"thresholds": {"car": {"high": 0.5, "low": 0.6}}}, r"thresholds\.car has low 0\.6 above high 0\.5"),
    ({"thresholds": {"car": float("nan")}}, r"thresholds\.car"),
    ({"allow": "car"}, 'allow is "car": input should be a valid'),
    ({"name": ""}, 'name is "": '),
]


@pytest.mark.parametrize(("fields", "text"), WRONG, ids=[text[:30] for _, text in WRONG])
def test_a_wrong_file_is_told_where_it_is_wrong(fields: dict[str, Any], text: str) -> None:
    with pytest.raises(InvalidOption, match=text) as error:
        parsed(**fields)
    assert "mine.json" in str(error.value)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b'{"name": "a",\n "allow": [}', r"line 2, column 12"),
        (b"[]", r"the file is \[\]"),
        (b'{"name": "a", "name": "b"}', "'name' twice"),
        (b'{"name": "a", "thresholds": {"car": 0.1, "car": 0.2}}', "'car' twice"),
        (b"\xff\xfe", "byte 0 is no UTF-8"),
        (b'{"name": "\\ud800"}', "mine.json is wrong"),
        (b"[" * 100_000, "nested too deeply"),
        (b"", "line 1, column 1"),
        (b" " * (5 << 20), "larger than 4,194,304 bytes"),
    ],
)
def test_what_is_no_taxonomy_is_refused(data: bytes, text: str) -> None:
    with pytest.raises(InvalidOption, match=text):
        parse_taxonomy(data, "mine.json")


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(InvalidOption, match="cannot be read: No such file"):
        read_taxonomy(tmp_path / "a.json")


def test_too_many_levels_are_refused() -> None:
    def chain(length: int) -> Taxonomy:
        return parsed(
            categories=[{"id": str(i), "name": "a", **({"parent": str(i - 1)} if i else {})} for i in range(length)]
        )

    assert len(chain(MAX_DEPTH).categories) == MAX_DEPTH
    with pytest.raises(InvalidOption, match="below more than 32 others"):
        chain(MAX_DEPTH + 2)


def test_unknown_labels_are_told_with_the_nearest() -> None:
    taxonomy = parsed(
        categories=[{"id": "1", "name": "a", "labels": ["Car"]}], allow=["peson"], thresholds={"zzz": 0.5}
    )
    with pytest.raises(InvalidOption) as error:
        taxonomy.check_labels({"car", "person", "dog"})
    assert "categories[0].labels names the label 'Car', which no served network knows; is it 'car'?" in str(error.value)
    assert "allow names the label 'peson', which no served network knows; is it 'person'?" in str(error.value)
    assert "thresholds names the label 'zzz', which no served network knows" in str(error.value)


def test_many_mistakes_are_told_in_short() -> None:
    with pytest.raises(InvalidOption) as error:
        parsed(allow=[f"x{i}" for i in range(50_000)]).check_labels({"car"})
    assert str(error.value).count("names the label") == 5
    assert str(error.value).endswith("; and more")


@settings(derandomize=True)
@given(st.lists(st.integers(-1, 14), min_size=1, max_size=15))
def test_every_file_is_taken_or_told_and_parents_have_their_childrens_labels(parents: list[int]) -> None:
    n = len(parents)
    links = {i: p for i, p in enumerate(parents) if 0 <= p < n}
    rows = [
        {"id": str(i), "name": "a", "labels": [f"l{i}"], **({"parent": str(links[i])} if i in links else {})}
        for i in range(n)
    ]

    def above(i: int) -> list[int]:
        found = [i]
        while found[-1] in links and len(found) <= n:
            found.append(links[found[-1]])
        return found

    if any(len(above(i)) > n for i in range(n)):
        with pytest.raises(InvalidOption, match=r"circle|own parent"):
            parsed(categories=rows)
        return
    members = parsed(categories=rows).members()
    for i in range(n):
        assert members[str(i)] == {f"l{j}" for j in range(n) if i in above(j)}


def write(path: Path, **fields: Any) -> Taxonomy:
    path.write_text(json.dumps({"name": "mine", **fields}))
    return read_taxonomy(path)


CATEGORIES = [
    {"id": "top", "name": "Anything"},
    {"id": "v", "parent": "top", "name": "Vehicles", "labels": ["car", "red"]},
    {"id": "p", "parent": "top", "name": "People", "labels": ["person"]},
    {"id": "none", "name": "Nothing"},
]


def test_a_video_gets_categories(three_colours: Path, tmp_path: Path) -> None:
    taxonomy = write(tmp_path / "mine.json", categories=CATEGORIES)
    tag([three_colours], tmp_path / "out", taxonomy=taxonomy)
    tags = result(tmp_path / "out", three_colours)
    assert {(t.label, t.category) for t in tags.tags if t.model == "mine"} == {
        ("Anything", "top"),
        ("Vehicles", "v"),
        ("People", "p"),
    }
    assert spans(tags, "Vehicles") == spans(tags, "car") == [(0, 1)]
    assert spans(tags, "Anything") == [(0, 1), (1, 2)]  # not across the cut
    confidences = {t.label: t.confidence for t in tags.tags}
    assert confidences["Anything"] == confidences["Vehicles"] == confidences["red"] > confidences["car"]
    assert [[t.label for t in s.tags if t.category] for s in tags.shots] == [
        ["Anything", "Vehicles"],
        ["Anything", "People"],
        [],
    ]
    assert tags.provenance.options["taxonomy"] == "mine.json"
    assert tags.provenance.options["taxonomy_sha256"] == taxonomy.sha256


def test_only_what_is_allowed_is_kept(three_colours: Path, tmp_path: Path) -> None:
    taxonomy = write(tmp_path / "mine.json", categories=CATEGORIES, allow=["person"])
    (outcome,) = tag([three_colours], tmp_path / "out", taxonomy=taxonomy, frames=True)
    tags = result(tmp_path / "out", three_colours)
    assert {t.label for t in tags.tags} == {"person", "Anything", "Vehicles", "People"}
    assert spans(tags, "Vehicles") == [(0, 1)]  # of labels that are left out themselves
    assert tags.frames is not None
    assert {d.label for f in tags.frames for d in f.detections} == {"person"}
    assert {t.label for f in tags.frames for t in f.tags} == set()
    assert [[o.label for o in s.objects] for s in tags.shots] == [[], ["person"], []]
    page = next(file for file in outcome.files if file.suffix == ".html").read_text()
    assert "Categories (mine)" in page
    assert ">car<" not in page


def test_a_label_has_a_threshold_of_its_own(three_colours: Path, tmp_path: Path) -> None:
    taxonomy = write(tmp_path / "mine.json", thresholds={"car": 0.85, "red": 0.98})
    tag([three_colours], tmp_path / "out", taxonomy=taxonomy, frames=True)
    tags = result(tmp_path / "out", three_colours)
    assert {t.label for t in tags.tags} == {"green", "blue", "person"}  # a car scores 0.8, red 0.97
    frames = tags.frames or ()
    assert {d.label for f in frames for d in f.detections} == {"car", "person"}  # 0.8 is above 0.68, the car's `low`


def test_another_taxonomy_makes_it_tag_again(three_colours: Path, tmp_path: Path) -> None:
    def status(**fields: Any) -> Status:
        return tag([three_colours], tmp_path / "out", taxonomy=write(tmp_path / "mine.json", **fields))[0].status

    assert status(allow=["car"]) is Status.TAGGED
    assert status(allow=["car"]) is Status.DONE
    assert status(allow=["person"]) is Status.TAGGED
    assert tag([three_colours], tmp_path / "out")[0].status is Status.TAGGED


def test_unknown_labels_end_a_run_before_anything_is_tagged(three_colours: Path, tmp_path: Path) -> None:
    client = FakeTagger()
    with pytest.raises(InvalidOption, match="is it 'car'"):
        tag([three_colours], tmp_path / "out", client, taxonomy=write(tmp_path / "mine.json", allow=["cars"]))
    assert client.registrations == 0


def test_images_get_categories_allow_lists_and_thresholds(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "car.jpg").write_bytes(encode(picture(RED, 64, 48)))
    (folder / "person.jpg").write_bytes(encode(picture(GREEN, 64, 48)))
    taxonomy = write(
        tmp_path / "mine.json",
        categories=CATEGORIES,
        allow=["car", "green", "red"],
        thresholds={"red": 0.98, "car": 0.3},
    )
    outcomes = tag([folder], tmp_path / "out", taxonomy=taxonomy)
    car, person = (json.loads(outcome.files[0].read_text()) for outcome in outcomes)
    assert [d["label"] for d in car["detections"]] == ["car"]
    assert [(t["label"], t.get("category")) for t in car["tags"]] == [("Anything", "top"), ("Vehicles", "v")]
    assert [t["score"] for t in car["tags"]] == [0.8, 0.8]  # of the box: red is not sure enough
    assert person["detections"] == []
    assert [t["label"] for t in person["tags"]] == ["green", "Anything", "People"]
    assert car["provenance"]["options"]["taxonomy_sha256"] == taxonomy.sha256

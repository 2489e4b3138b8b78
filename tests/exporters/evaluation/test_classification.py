from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from exporters.catalogue.entries import MODELS
from exporters.evaluation import (
    ClassificationDataset,
    best_classes,
    read_classes,
    report_classification,
    top_shares,
)
from exporters.evaluation.pictures import draw_class_confusion
from reeltag.cli import app
from reeltag.embedded import EmbeddedTriton
from reeltag.errors import InputError, InvalidOption

LABELS = ("cat", "dog", "cow", "hen", "pig", "rat", "ox")


def pictures(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (16, 16)).save(folder / name, "PNG")
    return folder


def pairs(dataset: ClassificationDataset) -> list[tuple[str, str]]:
    return [(path.name, truth) for path, truth in zip(dataset.pictures, dataset.truths, strict=True)]


def test_a_folder_is_a_class(tmp_path: Path) -> None:
    pictures(tmp_path, "dog/b.png", "cat/a.JPEG", "cat/more/c.png", ".hidden/x.png")
    (tmp_path / "cat" / "notes.txt").touch()
    (tmp_path / "empty").mkdir()
    dataset = read_classes(tmp_path)
    assert pairs(dataset) == [("a.JPEG", "cat"), ("c.png", "cat"), ("b.png", "dog")]
    assert [list(batch) for batch in dataset.batches()] == [[0, 1, 2]]
    assert dataset.batch_count == 1


LISTS = {
    "val.txt": "a.png cat\nsub/b c.png\tox head\n\n",
    "list.csv": 'file,class\na.png,cat\n"sub/b c.png", ox head\n',
    "bare.csv": "a.png,cat\nsub/b c.png,ox head\n",
    "list.json": '{"a.png": "cat", "sub/b c.png": "ox head"}',
}


@pytest.mark.parametrize("name", list(LISTS))
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_lists_of_files_and_classes(tmp_path: Path, name: str, encoding: str) -> None:
    pictures(tmp_path / "images", "a.png", "sub/b c.png")
    (tmp_path / name).write_text(LISTS[name], encoding)
    dataset = read_classes(tmp_path / "images", tmp_path / name)
    assert dataset.pictures == (tmp_path / "images/a.png", tmp_path / "images/sub/b c.png")
    assert dataset.truths == ("cat", "ox head")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("val.txt", "a.png\n", r"'a\.png' in line 1; a class list holds"),
        ("val.txt", "", "lists no pictures"),
        ("val.txt", "a.png cat\nb.png dog\n", r"1 of 2 pictures are not in .*, first b\.png"),
        ("val.txt", "a.png cat\na.png dog\n", r"lists a\.png twice"),
        ("list.csv", "a.png,cat,1\n", "3 columns in row 1, not 2"),
        ("list.csv", "a.png,\n", r"gives a\.png no class"),
        ("list.json", "{", "no JSON"),
        ("list.json", '{"images": [], "annotations": []}', r'does not give each picture one class; .*"cat1\.jpg"'),
        ("list.json", '[["a.png", "cat"]]', "does not give each picture one class"),
    ],
)
def test_lists_that_are_none(tmp_path: Path, name: str, content: str, words: str) -> None:
    pictures(tmp_path / "images", "a.png")
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=words):
        read_classes(tmp_path / "images", tmp_path / name)


def test_folders_that_hold_no_classes(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is no folder"):
        read_classes(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"images in sub-folders; without --annotations each class has one"):
        read_classes(pictures(tmp_path, "a.png"))
    with pytest.raises(InputError, match=r"cannot be read as text.*a class list holds"):
        read_classes(tmp_path, tmp_path / "a.png")


def truths(*names: str) -> ClassificationDataset:
    return ClassificationDataset(tuple(Path(str(number)) for number in range(len(names))), names)


def test_classes_are_named_numbered_or_of_wordnet() -> None:
    assert truths("ox", "horse", "cat").class_indexes(LABELS) == {"ox": 6, "cat": 0}
    assert truths("6", "0").class_indexes(LABELS) == {"6": 6, "0": 0}
    assert truths("1", "0").class_indexes(("0", "5", "1")) == {"1": 2, "0": 0}, "names go before numbers"
    imagenet = MODELS["efficientnet_lite0"].labels
    found = truths("n02123045", "n03888257", "n00000000").class_indexes(imagenet)
    assert {synset: imagenet[index] for synset, index in found.items()} == {
        "n02123045": "tabby cat",
        "n03888257": "parachute",
    }


def test_classes_that_are_none_of_the_networks() -> None:
    with pytest.raises(InputError, match=r"\(horse, n02123045\) is one of the network \(cat, dog, cow, \.\.\.\)"):
        truths("horse", "n02123045").class_indexes(LABELS)
    with pytest.raises(InputError, match="class 7 is given to a picture; the network has the classes 0 to 6"):
        truths("0", "7").class_indexes(LABELS)


def test_the_five_best_and_the_best_alone() -> None:
    scores = np.array([[0.1, 0.3, 0.3, 0.05, 0.2, 0.05, 0.0]], np.float32)
    assert best_classes(scores).tolist() == [[1, 2, 4, 0, 3]]
    assert best_classes(scores[:, :5]).tolist() == [[1]], "of five classes the five best are all"


def test_shares_of_right_answers() -> None:
    found = np.array([[0, 1, 2, 3, 4], [1, 0, 2, 3, 4], [6, 5, 4, 3, 2], [0, 1, 2, 3, 4]])
    assert top_shares(found, [{0}, {0}, {0}, set()]) == {"top-1": pytest.approx(1 / 3), "top-5": pytest.approx(2 / 3)}
    assert top_shares(found[:, :1], [{0}, {1, 5}, {6}, {1}]) == {"top-1": 0.75}


def report() -> Any:
    found = np.array(
        [[0, 1, 2, 3, 4], [0, 1, 2, 3, 4], [1, 0, 2, 3, 4], [1, 2, 3, 4, 5], [2, 3, 4, 5, 6], [3, 1, 2, 4, 5]]
    )
    return report_classification(truths("cat", "cat", "cat", "dog", "dog", "horse"), found, LABELS)


def test_a_report_by_class() -> None:
    made = report()
    assert (made.pictures, made.unknown) == (5, ("horse",))
    assert made.shares == {"top-1": pytest.approx(3 / 5), "top-5": pytest.approx(4 / 5)}
    cat, dog = made.classes
    assert (cat.name, cat.pictures, cat.found, cat.right, cat.precision) == ("cat", 3, 2, 2, 1.0)
    assert (dog.name, dog.pictures, dog.found, dog.right, dog.precision) == ("dog", 2, 2, 1, 0.5)
    assert cat.shares == {"top-1": pytest.approx(2 / 3), "top-5": 1.0}
    assert (cat.taken_for, dog.taken_for) == ((("dog", 1),), (("cow", 1),))
    assert made.answers == {("cat", "cat"): 2, ("cat", "dog"): 1, ("dog", "dog"): 1, ("dog", "cow"): 1}


def test_confusion_is_of_the_classes_with_mistakes() -> None:
    confusion = report().confusion()
    counts = {
        (true, found): int(confusion.counts[row, column])
        for row, true in enumerate(confusion.labels)
        for column, found in enumerate((*confusion.labels, "another"))
        if confusion.counts[row, column]
    }
    assert counts == {("cat", "cat"): 2, ("cat", "dog"): 1, ("dog", "dog"): 1, ("dog", "cow"): 1}


def test_a_report_is_json_and_a_picture(tmp_path: Path) -> None:
    again = json.loads(json.dumps(report().to_dict()))
    assert again["top-1"] == pytest.approx(3 / 5)
    assert again["classes"][1]["precision"] == 0.5
    assert {"true": "dog", "found": "cow", "pictures": 1} in again["answers"]
    draw_class_confusion(report(), tmp_path / "confusion.png")
    with Image.open(tmp_path / "confusion.png") as picture:
        assert min(picture.size) > 300


def test_the_served_classifier_is_measured(shared: Path, tmp_path: Path, triton: EmbeddedTriton) -> None:
    """The class of a photograph is known (`test_compose`), and a wrong one is said of another."""
    photographs = sorted((shared / "data" / "coco128" / "val2017").iterdir())[:3]
    lines = [f"{photographs[2].name} teddy bear", f"{photographs[0].name} volcano"]
    (tmp_path / "val.txt").write_text("\n".join(lines))
    command = ["evaluate", "classification", "--images", str(photographs[0].parent), "--url", triton.url]
    figures = tmp_path / "figures.json"
    options = ["--annotations", str(tmp_path / "val.txt"), "--json", str(figures)]
    result = CliRunner().invoke(app, [*command, *options], catch_exceptions=False)
    assert result.exit_code == 0
    content = json.loads(figures.read_text())
    assert (content["pictures"], content["top-1"]) == (2, 0.5)
    assert {"true": "teddy bear", "found": "teddy bear", "pictures": 1} in content["answers"]


def test_what_cannot_be_drawn_is_refused_before(tmp_path: Path) -> None:
    pictures(tmp_path, "cat/a.png")
    command = ["evaluate", "classification", "--images", str(tmp_path), "--picture", "confusion.txt"]
    assert isinstance(CliRunner().invoke(app, command).exception, InvalidOption)

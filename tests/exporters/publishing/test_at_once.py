"""Several processes that publish into one repository at the same moment."""

from __future__ import annotations

import itertools
import multiprocessing
from dataclasses import replace
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Literal

from exporters.catalogue.entries import MODELS
from exporters.publishing import repository
from exporters.publishing.artefact import Artefact
from exporters.publishing.exported import artefacts_in, serving
from exporters.publishing.passport import Passport
from reeltag import contract
from reeltag.contract import Task
from reeltag.frames import Fit, View
from tests.exporters.publishing.test_configs import check_steps, names, read_config

TASKS: dict[str, Literal["detect", "classify", "segment"]] = {
    "one_detector": "detect",
    "another_detector": "detect",
    "my_classifier": "classify",
    "my_segmenter": "segment",
}
SIZES = {name: 64 + 32 * number for number, name in enumerate(TASKS)}


def artefact(folder: Path, name: str) -> Artefact:
    """A network that nobody runs."""
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.onnx").write_bytes(name.encode())
    (folder / f"{name}.txt").write_text("sea\nland\n")
    side = SIZES[name]
    spec = replace(
        MODELS["nanodet_g"],
        name=name,
        task=TASKS[name],
        source="own",
        height=side,
        width=side,
        view=View(Fit.LETTERBOX, side, side),
        labels_file=str(folder / f"{name}.txt"),
    )
    return Artefact(spec, folder / f"{name}.onnx", Passport(runtime="openvino", precision="fp32", exported=True))


def publish_one(target: Path, name: str, barrier: Barrier) -> None:
    made = artefact(target.parent / name, name)
    barrier.wait(60)
    repository.publish(target, [made])


def test_what_each_of_them_publishes_is_served(tmp_path: Path) -> None:
    target = tmp_path / "repository"
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(len(TASKS))
    processes = [context.Process(target=publish_one, args=(target, name, barrier)) for name in TASKS]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0] * len(TASKS)

    configs = {folder.name: read_config(folder) for folder in target.iterdir()}
    assert configs.keys() >= TASKS.keys()
    check_steps(configs)
    for count in (1, 2, 3):
        for tasks in itertools.combinations(Task, count):
            assert contract.image_ensemble(tasks) in configs
    by_turn = {one.spec.name: one.passport.turn for one in artefacts_in(target)}
    detectors = [name for name, task in TASKS.items() if task == "detect"]
    last = max(detectors, key=by_turn.__getitem__)
    assert by_turn[detectors[0]] != by_turn[detectors[1]]
    assert serving(target) == [last, "my_classifier", "my_segmenter"]
    views = {f"LETTERBOX_{SIZES[name]}X{SIZES[name]}_PAD0" for name in (last, "my_classifier", "my_segmenter")}
    assert views <= names(configs["decode"].output)
    assert repository.publish(target, []) == []
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_the_last_one_that_was_exported_serves_and_then_the_one_before_it(tmp_path: Path) -> None:
    target = tmp_path / "repository"
    repository.publish(target)
    one, another = (artefact(tmp_path / name, name) for name in ("one_detector", "another_detector"))
    for made in (another, one):
        repository.publish(target, [made])
    detectors = [each.spec.name for each in artefacts_in(target) if each.spec.task == "detect"]
    assert detectors == ["one_detector", "another_detector", "nanodet_g"]
    assert repository.publish(target, [one]) == [], "it is the first already"
    repository.publish(target, [another])
    assert serving(target)[0] == "another_detector"
    repository.publish(target)
    assert serving(target)[0] == "another_detector", "what comes with reeltag takes no turn"


def test_what_was_rebuilt_takes_the_place_of_what_it_was_made_from_and_of_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "repository"
    old, newer = (artefact(tmp_path / name, name) for name in ("one_detector", "another_detector"))
    for made in (old, newer):
        repository.publish(target, [made])
    passport = next(each.passport for each in artefacts_in(target) if each.spec.name == "one_detector")
    rebuilt = replace(old, passport=old.passport.model_copy(update={"precision": "fp16"}))
    assert repository.replace_published(target, rebuilt, of=passport)
    assert serving(target) == ["another_detector"], "its turn has not come again"
    assert {each.spec.name: each.passport.precision for each in artefacts_in(target)}["one_detector"] == "fp16"
    assert not repository.replace_published(target, old, of=passport), "that one is no longer there"
    assert {each.spec.name: each.passport.precision for each in artefacts_in(target)}["one_detector"] == "fp16"

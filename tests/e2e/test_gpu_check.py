"""The check of all that a GPU has to prove, in short on the CPU: a part that fails is named, and the others go on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

from benchmarks import gpu_check
from benchmarks.gpu import served
from benchmarks.gpu.setting import Setting, jpegs_720p
from reeltag.embedded import find
from reeltag.errors import EmbeddedUnavailable
from reeltag.frames import read


def run(folder: Path, *arguments: str) -> tuple[int, dict[str, dict[str, Any]]]:
    """How many parts failed, and what each of them says."""
    out = folder / "found.json"
    failed = gpu_check.main([*arguments, "--device", "cpu", "--seconds", "0.2", "--out", str(out)])
    return failed, {part["part"]: part for part in json.loads(out.read_text())["parts"]}


def test_a_part_that_fails_is_named_and_the_others_go_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    failed, found = run(tmp_path, "prepare", "accuracy", "scaling", "--repository", str(tmp_path / "models"))
    assert found["accuracy"]["failure"] == "ValueError: give --photographs FOLDER --annotations FILE"
    assert found["prepare"]["failure"] == ""
    assert (tmp_path / "models" / "nanodet_g" / "config.pbtxt").is_file()
    assert "seconds" in found["scaling"]
    assert failed == sum(bool(part["failure"]) for part in found.values()) >= 1
    assert "| accuracy | FAILED |" in capsys.readouterr().out


def test_a_part_whose_time_is_over_is_ended_and_named(tmp_path: Path) -> None:
    failed, found = run(tmp_path, "bare", "--budget", "0.005")
    assert (failed, found["bare"]["failure"]) == (1, "not done in 0 s")


def test_the_parts_take_nine_minutes_at_most() -> None:
    assert sum(seconds for _, seconds in gpu_check.PARTS.values()) <= 540


def test_the_pictures_are_drawn_the_same_each_time() -> None:
    once, again = jpegs_720p(2), jpegs_720p(2)
    assert once == again
    assert {(read(data).header.width, read(data).header.height) for data in once} == {(1280, 720)}
    assert all(50_000 < len(data) < 300_000 for data in once)


def test_the_ensemble_is_measured(model_repository: Path) -> None:
    try:
        find()
    except EmbeddedUnavailable as error:
        pytest.skip(str(error))
    said = served.ensemble(Setting("cpu", "nanodet_g", 0.5, model_repository, None, None, None))
    (figure,) = said.figures
    assert figure.value > 0
    assert figure.detail.startswith("executed batch ")

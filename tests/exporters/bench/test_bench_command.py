"""What `reeltag bench model` refuses, before anything is read or measured."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from reeltag.cli import app
from reeltag.errors import InvalidOption

pytest.importorskip("torch")
pytest.importorskip("onnx")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("", "name the network"),
        ("--profile edge --sizes 256x512", "name it"),
        ("--profile edge --checkpoint a.pth", "name it"),
        ("--profile edge --annotations truth.json", "--images FOLDER"),
        ("nanodet_g --profile edge --calibration photos", "go with --images FOLDER"),
        ("nanodet_g --qat-graph model.onnx", "go with --images FOLDER"),
        ("nanodet_g --images photos --qat", "--calibration FOLDER"),
        ("nanodet_g --images photos --calibration others --qat --qat-graph model.onnx", "leave one out"),
        ("nanodet_g --images photos --sizes 256x512", "leave --images out"),
        ("nanodet_g --images photos --labels names.txt", "go with --checkpoint FILE"),
        ("nanodet_g --profile edge --images photos --picture ladder.txt", ".png or .svg"),
    ],
)
def test_options_that_do_not_go_together_are_refused(arguments: str, said: str) -> None:
    answer = CliRunner().invoke(app, ["bench", "model", *arguments.split()])
    assert isinstance(answer.exception, InvalidOption)
    assert said in str(answer.exception)

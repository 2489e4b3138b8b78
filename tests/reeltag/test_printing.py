"""What commands print where no person looks, and the doctor's list of packages."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from reeltag.doctor import examine_packages

TABLE = """
from reeltag.commands.common import results, table_of
results.print(table_of("t", [{"what": "w" * 100, "how": "h" * 90}]))
"""


def printed(columns: str | None) -> list[str]:
    environment = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    if columns is not None:
        environment["COLUMNS"] = columns
    command = [sys.executable, "-c", TABLE]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.splitlines()


def test_a_table_in_a_pipe_is_whole() -> None:
    (row,) = [line for line in printed(None) if "w" * 100 in line]
    assert "h" * 90 in row


def test_who_says_how_wide_it_is_is_obeyed() -> None:
    assert max(map(len, printed("80"))) == 80


def distribution(folder: Path, name: str, module: str) -> None:
    (info := folder / f"{name.replace('-', '_')}-9.9.dist-info").mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 9.9\n")
    (info / "top_level.txt").write_text(f"{module}\n")


def test_another_distribution_of_the_same_module_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    for name in ("torch", "onnx", "onnxruntime-gpu"):
        distribution(tmp_path, name, "onnxruntime" if name == "onnxruntime-gpu" else name)
    found = {finding.subject: finding for finding in examine_packages()}
    assert found["extra export"].state == "ok"
    assert found["extra export"].detail == "torch 9.9, onnx 9.9, onnxruntime-gpu 9.9"
    assert found["extra gpu"].state == "ok"


def test_a_distribution_of_the_module_is_not_one_of_the_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    for name in ("torch", "onnxruntime"):
        distribution(tmp_path, name, name)
    found = {finding.subject: finding for finding in examine_packages()}
    assert "without onnx, onnxruntime-gpu:" in found["extra gpu"].detail
    assert "without onnx:" in found["extra export"].detail

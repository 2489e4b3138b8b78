"""OpenVINO tells Google Analytics of each import, unless its module for that is missing; here it tells nobody."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.parametrize(("folder", "module"), [(".", "reeltag"), ("exporters/backends", "openvino_model")])
def test_an_import_tells_nobody(folder: str, module: str, tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    (tmp_path / "triton_python_backend_utils.py").touch()  # Triton's own, in its process
    program = f"import {module}, openvino, sys; print(sys.modules['openvino_telemetry'])"
    path = os.pathsep.join([str(ROOT / folder), str(tmp_path)])
    run = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert run.stdout == "None\n"

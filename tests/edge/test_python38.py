"""JetPack 5 has Python 3.8: the edge must be valid there, and is run there where that interpreter is found."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.edge.conftest import ROOT

OURS = ("__init__", "errors", "interrupts", "jetson", "signatures", "tegrastats")
FILES = sorted([*(ROOT / "edge").rglob("*.py"), *(ROOT / f"reeltag/{name}.py" for name in OURS)])
BARE = ["fastapi", "httpx", "onnx", "pydantic", "rich", "torch", "typer"]


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_each_file_is_valid_in_python_38(file: Path) -> None:
    ast.parse(file.read_text("utf-8"), feature_version=(3, 8))


def interpreters() -> list[str]:
    """Of Python 3.8: the one that a developer names, pyenv's, the system's."""
    found = [os.environ.get("PYTHON38"), *map(str, Path("~/.pyenv/versions").expanduser().glob("3.8*/bin/python"))]
    found += [shutil.which("python3.8")]
    return [each for each in found if each]


@pytest.fixture(scope="session")
def python38() -> Path:
    """An environment of Python 3.8 with what the edge needs there, and nothing else; made once on a machine."""
    for number, interpreter in enumerate(interpreters()):
        folder = Path(f"~/.cache/reeltag-tests/python38-{number}").expanduser()
        python, ready = folder / "bin/python", folder / "ready"
        if ready.is_file():
            return python
        made = subprocess.run([interpreter, "-m", "venv", "--clear", str(folder)], capture_output=True, check=False)
        if made.returncode:
            continue
        # Without what they depend on: ONNX Runtime asks for SymPy, which only its tools use.
        names = ("numpy", "onnxruntime", "opencv-python-headless", "prometheus-client", "pyyaml")
        install = [str(python), "-m", "pip", "install", "--quiet", "--only-binary=:all:", "--no-deps", *names]
        if subprocess.run(install, capture_output=True, check=False, timeout=240).returncode == 0:
            ready.touch()
            return python
    pytest.skip("no Python 3.8 with its packages here: pyenv install 3.8, or PYTHON38=/path/to/python3.8")


def test_the_edge_watches_in_python_38(python38: Path, model_repository: Path) -> None:
    """ONNX Runtime on a test pattern, in an environment without web framework, torch or pydantic."""
    command = [str(python38), "-m", "edge", "pattern:320x240@30", "--frames", "8", "--every-frame"]
    command += ["--score", "0.05", "--runtime", "onnxruntime", "--model-repository", str(model_repository)]
    run = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=120, check=False)
    assert run.returncode == 0, run.stderr
    states = [event["state"] for event in map(json.loads, run.stdout.splitlines()) if event["kind"] == "camera"]
    assert states == ["delivering", "ended"]
    assert "8 frames captured, 0 dropped" in run.stderr


def test_every_module_is_imported_without_what_a_device_has_not() -> None:
    """In this Python, with the packages that a device has not made impossible to import."""
    modules = [str(file.relative_to(ROOT).with_suffix("")).replace("/", ".") for file in (ROOT / "edge").rglob("*.py")]
    names = [name.removesuffix(".__init__") for name in modules if not name.endswith("__main__")]
    program = (
        f"import sys\nfor name in {BARE}: sys.modules[name] = None\n"
        f"import importlib\nfor name in {names}: importlib.import_module(name)"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=False)
    assert run.returncode == 0, run.stderr


def test_traffic_is_watched_in_python_38(python38: Path, model_repository: Path, tmp_path: Path) -> None:
    """Scene, spool and file of events, by a configuration."""
    config = tmp_path / "watch.yaml"
    config.write_text(
        "cameras:\n  - name: north\n    source: pattern:320x240@30\n    picture: [320, 240]\n"
        "    lines:\n      - {name: gate, points: [[0, 120], [320, 120]]}\n"
        "events:\n  file: {path: events.jsonl}\n  snapshots: {folder: snapshots}\n"
    )
    command = [str(python38), "-m", "edge", "--config", str(config), "--frames", "8", "--every-frame"]
    command += ["--runtime", "onnxruntime", "--model-repository", str(model_repository)]
    run = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=120, check=False)
    assert run.returncode == 0, run.stderr
    events = map(json.loads, (tmp_path / "events.jsonl").read_text().splitlines())
    assert [event["state"] for event in events if event["kind"] == "camera"] == ["delivering", "ended"]

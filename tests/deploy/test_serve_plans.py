"""What NVIDIA's Triton is given to load, by passports, container, driver and GPU that are described here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from deploy.serve_plans import CONTAINERS, Machine, chosen, with_nvjpeg
from tests.deploy.images import ROOT

L4 = Machine("24.10", "560.35.03", ("NVIDIA L4", "8.9"))
PLAN: dict[str, Any] = {
    "module": "tensorrt",
    "version": "10.5.0.18",
    "gpu": {"name": "NVIDIA L4", "compute_capability": "8.9"},
    "targets": [],
}


def repository(folder: Path, plan: dict[str, Any] | None = PLAN) -> Path:
    """A detector, its ensemble, and a classifier without a plan."""
    configs = {"yolox_s": "", "detect": 'step { model_name: "yolox_s" }', "decode": "", "other": ""}
    for name, config in configs.items():
        (folder / name).mkdir()
        (folder / name / "config.pbtxt").write_text(config)
        said = {"plan": plan} if name == "yolox_s" else {"plan": None}
        (folder / name / "passport.json").write_text(json.dumps(said))
    return folder


def test_a_plan_of_this_container_and_gpu_is_loaded(tmp_path: Path) -> None:
    assert chosen(repository(tmp_path), L4) == (["decode", "detect", "other", "yolox_s"], {})


@pytest.mark.parametrize(
    ("plan", "machine", "said"),
    [
        (
            {"version": "10.13.3.9"},
            {},
            "built by TensorRT 10.13.3.9, and 10.5.0 is in this container; container 25.10 has 10.13.3;",
        ),
        ({"version": "8.6.1"}, {}, "no container that is known here has it (24.10 with TensorRT 10.5.0, 24.12 with"),
        ({}, {"release": "23.01"}, "container 23.01 is not known here: 24.10 with TensorRT 10.5.0"),
        ({}, {"release": ""}, "none of NVIDIA's containers, is not known here"),
        ({"module": "tensorrt_rtx", "targets": ["SM89"]}, {}, "plan of tensorrt_rtx"),
        ({}, {"gpu": ("NVIDIA H200", "9.0")}, "built on NVIDIA L4, and NVIDIA H200 is here"),
        ({}, {"driver": "550.54.14"}, "needs NVIDIA driver 560 or later"),
        ({}, {"driver": "535.54.03"}, "needs NVIDIA driver 560 or later"),
        ({}, {"driver": ""}, "nvidia-container-toolkit"),
    ],
)
def test_what_cannot_run_is_left_out_by_name_with_what_needs_it(
    tmp_path: Path, plan: dict[str, Any], machine: dict[str, Any], said: str
) -> None:
    loaded, left_out = chosen(repository(tmp_path, PLAN | plan), replace(L4, **machine))
    assert loaded == ["decode", "other"]
    assert said in left_out["yolox_s"]
    assert left_out["detect"] == "it needs yolox_s"


def test_older_drivers_of_data_centres_will_do(tmp_path: Path) -> None:
    assert not chosen(repository(tmp_path), replace(L4, driver="535.104.05"))[1]


def test_a_damaged_passport_is_named(tmp_path: Path) -> None:
    (repository(tmp_path) / "yolox_s" / "passport.json").write_text("{")
    assert "its passport is damaged" in chosen(tmp_path, L4)[1]["yolox_s"]


def test_it_becomes_the_server_with_what_is_left(tmp_path: Path) -> None:
    """Here is no driver: the plan is left out, and the rest is loaded."""
    command = [sys.executable, str(ROOT / "deploy/serve_plans.py"), str(repository(tmp_path)), "echo", "served"]
    run = subprocess.run(command, capture_output=True, text=True, check=True, env={"PATH": os.environ["PATH"]})
    assert "yolox_s is left out" in run.stderr
    if not Path("/proc/driver/nvidia").exists():
        assert run.stdout.split() == ["served", "--load-model=decode", "--load-model=other"]


def test_the_page_has_the_table_that_the_code_has() -> None:
    page = (ROOT / "docs/gpu.md").read_text()
    for release, one in CONTAINERS.items():
        assert f"| {release} | {one.triton} | {one.tensorrt} | {one.cuda} | {one.python} | {one.driver} |" in page


def test_nvjpeg_is_found_behind_tritons_own_libraries(tmp_path: Path) -> None:
    library = tmp_path / "nvidia" / "nvjpeg" / "lib"
    library.mkdir(parents=True)
    paths = ["", str(tmp_path), "/nowhere"]
    assert with_nvjpeg({"LD_LIBRARY_PATH": "/opt/lib", "A": "b"}, paths)["LD_LIBRARY_PATH"] == f"/opt/lib:{library}"
    assert with_nvjpeg({}, paths)["LD_LIBRARY_PATH"] == str(library)

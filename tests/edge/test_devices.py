"""Jetsons: what they are by their files, what is refused by name, and plans through trtexec."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from edge.command import main
from edge.runtimes.artefacts import find_detector
from edge.runtimes.planning import _command, _version
from reeltag.commands.export_options import PlanPanel, PrecisionOptions
from reeltag.errors import SetupError
from reeltag.jetson import Device, this_device


def jetson(root: Path, model: str, release: str) -> Device:
    (root / "proc/device-tree").mkdir(parents=True)
    (root / "proc/device-tree/model").write_text(f"{model}\0")
    (root / "etc").mkdir()
    major, _, minor = release.partition(".")
    (root / "etc/nv_tegra_release").write_text(f"# R{major} (release), REVISION: {minor}, GCID: 1, BOARD: generic\n")
    clocks = root / "sys/class/devfreq/17000000.gpu"
    clocks.mkdir(parents=True)
    (clocks / "max_freq").write_text("624750000\n")
    cores = root / "sys/devices/system/cpu/cpu0/cpufreq"
    cores.mkdir(parents=True)
    (cores / "scaling_max_freq").write_text("1510400\n")
    device = this_device(root)
    assert device is not None
    return device


def test_this_machine_is_no_jetson(tmp_path: Path) -> None:
    assert this_device(tmp_path) is None


def test_an_orin_nano_exports_watches_and_has_no_accelerator(tmp_path: Path) -> None:
    device = jetson(tmp_path, "NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super", "36.4.3")
    assert (device.l4t, device.gpu_max_hertz, device.cpu_max_hertz) == ("36.4.3", 624_750_000, 1_510_400_000)
    assert device.board is not None
    assert device.jetpack is not None
    assert (device.board.name, device.jetpack.number, device.board.compute_capability) == ("Jetson Orin Nano", 6, "8.7")
    device.check_export()
    device.check_watch()
    with pytest.raises(SetupError, match="--dla 0: Jetson Orin Nano has none"):
        device.check_dla(0)


def test_a_xavier_nx_watches_and_has_its_plans_built_by_trtexec(tmp_path: Path) -> None:
    device = jetson(tmp_path, "NVIDIA Jetson Xavier NX Developer Kit", "35.4.1")
    device.check_watch()
    with pytest.raises(SetupError, match=r"JetPack 5 \(L4T 35.4.1\) has Python 3.8.*python3 -m edge plan"):
        device.check_export()
    device.check_dla(1)
    with pytest.raises(SetupError, match="has 2, 0 to 1"):
        device.check_dla(2)


def test_what_has_only_jetpack_4_is_refused(tmp_path: Path) -> None:
    device = jetson(tmp_path / "tx2", "quill", "32.7.4")
    with pytest.raises(SetupError, match=r"TensorRT 8.2, and reeltag needs 8.5 \(JetPack 5\), and there is no newer"):
        device.check_watch()
    with pytest.raises(SetupError, match="only trtexec builds plans there"):
        device.check_export()
    with pytest.raises(SetupError, match="install JetPack 5"):
        jetson(tmp_path / "nx", "NVIDIA Jetson Xavier NX", "32.7.4").check_watch()


def test_a_plan_is_built_by_trtexec_and_its_passport_says_by_which(
    model_repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """trtexec needs a GPU: a script takes its arguments and writes what it would."""
    shutil.copytree(model_repository / "nanodet_g", tmp_path / "repository/nanodet_g")
    program = tmp_path / "bin/trtexec"
    program.parent.mkdir()
    program.write_text(
        "#!/bin/sh\necho '&&&& RUNNING TensorRT.trtexec [TensorRT v8502] # trtexec'\n"
        'for said in "$@"; do case $said in --saveEngine=*) echo plan > "${said#--saveEngine=}";; esac; done\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    arguments = ["plan", "nanodet_g", "--model-repository", str(tmp_path / "repository")]
    assert main(arguments) == 0
    artefact = find_detector(tmp_path / "repository")
    assert (artefact.file.name, artefact.runtime, artefact.precision) == ("model.plan", "tensorrt", "fp16")
    assert artefact.plan is not None
    assert (artefact.plan["version"], artefact.plan["batch_sizes"]) == ("8.5.2", [1, 1, 1])
    assert main(arguments) == 2  # it is a plan already
    assert "is a plan already" in capsys.readouterr().err
    shutil.rmtree(tmp_path / "repository")
    shutil.copytree(model_repository / "nanodet_g", tmp_path / "repository/nanodet_g")
    before = json.loads((tmp_path / "repository/nanodet_g/passport.json").read_text())
    program.write_text("#!/bin/sh\necho '[E] Error[4]: no GPU'\nexit 1\n")
    assert main(arguments) == 1
    assert "no GPU" in capsys.readouterr().err
    assert json.loads((tmp_path / "repository/nanodet_g/passport.json").read_text()) == before


def test_trtexec_is_told_what_the_device_is_to_do(model_repository: Path) -> None:
    artefact = find_detector(model_repository)
    command = _command("trtexec", artefact, Path("/x/model.plan"), 1, "int8")
    for said in ("--minShapes=FRAMES:1x416x416x3", "--fp16", "--int8", "--useDLACore=1", "--allowGPUFallback"):
        assert said in command
    assert "--memPoolSize=workspace:1024" in command
    assert [_version(f"x [TensorRT v{number}] # y") for number in ("8502", "8601", "100300", "101303")] == [
        "8.5.2",
        "8.6.1",
        "10.3.0",
        "10.13.3",
    ]


def test_the_profile_is_for_one_picture_at_a_time_in_shared_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of `reeltag export --profile edge`; on this machine, which is no Jetson, for OpenVINO."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    plan = PlanPanel().options("tensorrt", "edge")
    assert plan.batch.sizes == (1, 1, 1)
    assert (plan.workspace_bytes, plan.dla_core) == (2**30, None)
    assert plan.timing_cache == tmp_path / "reeltag/edge-timings"
    assert PlanPanel(batch=4, workspace=256).options("tensorrt", "edge").batch.sizes == (1, 4, 4)
    assert PlanPanel().options("tensorrt").batch.sizes == (1, 8, 32)
    usual = PrecisionOptions(profile="edge").making(plan)
    assert (usual.runtime, usual.precision, usual.plan) == ("openvino", "fp32", plan)
    named = PrecisionOptions(profile="edge", runtime="tensorrt").making(plan)
    assert (named.runtime, named.precision) == ("tensorrt", "fp16")
    assert PrecisionOptions(profile="edge", qat=True).making(plan).precision == "int8"
    assert PrecisionOptions().making(plan).precision == "fp32"

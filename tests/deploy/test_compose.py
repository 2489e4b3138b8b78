"""docker-compose.yml and the Dockerfiles: valid, true to the code, and what they start runs."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.serve_plans import CONTAINERS
from reeltag.contract import NMS_OF_KIND
from reeltag.embedded import find
from reeltag.settings import Settings
from tests.deploy.containers import Container, container
from tests.deploy.images import ROOT, Stage, stages
from tests.e2e.conftest import jpeg

BIN = Path(sys.executable).parent
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
DOCKERFILES = ("deploy/Dockerfile", "deploy/triton.Dockerfile", "deploy/edge.Dockerfile")
RELEASES = {"0.7.0": "24.10"}
"""NVIDIA's container that carries the Triton of each `nvidia-pytriton`."""
OURS = [name for name, service in SERVICES.items() if "build" in service]


def stage_of(service: str) -> Stage:
    build = SERVICES[service]["build"]
    return stages(ROOT / build["dockerfile"])[build["target"]]


def test_the_file_is_valid() -> None:
    check = [str(BIN / "check-jsonschema"), "--builtin-schema", "vendor.compose-spec", "docker-compose.yml"]
    subprocess.run(check, cwd=ROOT, check=True, capture_output=True)


@pytest.mark.parametrize("dockerfile", DOCKERFILES)
def test_the_dockerfiles_are_clean(dockerfile: str) -> None:
    found = subprocess.run([BIN / "hadolint", dockerfile], cwd=ROOT, check=False, capture_output=True, text=True)
    assert found.stdout + found.stderr == ""
    for stage in stages(ROOT / dockerfile).values():
        for source, _ in stage.copied:
            assert (ROOT / source).exists()
        assert ":latest" not in stage.base
        assert ":" in stage.base


def test_the_linter_finds_faults(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM debian\nRUN cd /tmp && sudo true\n")
    assert subprocess.run([BIN / "hadolint", tmp_path / "Dockerfile"], check=False, capture_output=True).returncode


def test_nvidias_container_is_of_the_triton_that_comes_with_reeltag() -> None:
    release = RELEASES[metadata.version("nvidia-pytriton")]
    tensorrt = CONTAINERS[release].tensorrt
    exporter = stages(ROOT / "deploy/triton.Dockerfile")["exporter"]
    assert exporter.base == f"nvcr.io/nvidia/tritonserver:{release}-py3"
    assert any(f"tensorrt-cu12-bindings=={tensorrt}" in run for run in exporter.runs)
    of_jetson = stages(ROOT / "deploy/edge.Dockerfile")["exporter"]
    assert of_jetson.base == f"{exporter.base}-igpu"
    assert of_jetson.runs == exporter.runs


def test_nvidias_container_decodes_on_the_gpu_with_packages_of_its_cuda_and_python() -> None:
    """Of those that `gpu.py` imports there, each is pinned and for one major version of CUDA."""
    triton = stages(ROOT / "deploy/triton.Dockerfile")["triton"]
    container = CONTAINERS[triton.base.removeprefix("nvcr.io/nvidia/tritonserver:").removesuffix("-py3")]
    runs = " ".join(triton.runs)
    assert re.search(r" torch==2\.[67]\.\d+ ", runs), "the last torch for CUDA 12.6 is 2.7, on PyPI"
    major = container.cuda.split(".")[0]
    assert re.search(rf" nvidia-nvimgcodec-cu{major}==[\d.]+ nvidia-nvjpeg-cu{major}==[\d.]+", runs)
    assert container.python == "3.10"  # that the versions were looked up for
    assert {"torch", "simplejpeg", "numpy"} <= triton.distributions
    assert "torch" not in " ".join(stages(ROOT / "deploy/triton.Dockerfile")["exporter"].runs)


def test_python_is_one_that_reeltag_takes() -> None:
    requires = re.search(r'requires-python = ">=3\.(\d+),<3\.(\d+)"', (ROOT / "pyproject.toml").read_text())
    assert requires
    minor = int(stages(ROOT / "deploy/Dockerfile")["cpu"].base.removeprefix("python:3.").split("-")[0])
    assert int(requires[1]) <= minor < int(requires[2])


@pytest.mark.parametrize("name", OURS)
def test_every_variable_port_and_volume_is_there(name: str) -> None:
    service, stage = SERVICES[name], stage_of(name)
    environment = {**stage.environment, **service.get("environment", {})}
    settings = {f"REELTAG_{field.upper()}": field for field in Settings.model_fields}
    given = {settings[variable]: value for variable, value in environment.items() if variable.startswith("REELTAG_")}
    checked = Settings(**given)
    ports = [str(checked.port), str(checked.grpc_port)]
    assert [port.rsplit(":", 1)[1] for port in service.get("ports", ())] in ([], ports)
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))
    if service.get("ports"):
        assert stage.ports == ports
    for entry in service.get("volumes", ()):
        assert entry.split(":")[0] in COMPOSE["volumes"]
    assert stage.user == service["user"]


def test_what_others_are_given_is_there() -> None:
    for name in set(SERVICES) - set(OURS):
        service = SERVICES[name]
        assert re.search(r":v?\d+\.\d+(\.\d+$|-bookworm$)", service["image"])
        for entry in service["volumes"]:
            source = entry.split(":")[0]
            assert source in COMPOSE["volumes"] or (ROOT / source).is_dir(), entry
    assert (ROOT / "deploy/prometheus/prometheus.yml").is_file()


def test_every_service_is_hardened_and_triton_has_no_port() -> None:
    for service in SERVICES.values():
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert not service["user"].startswith("0")
        assert "privileged" not in service
        assert service.get("ipc") is None
    for name in ("triton", "exporter", "triton-edge", "exporter-edge"):
        assert SERVICES[name]["network_mode"] == "none"
        assert "ports" not in SERVICES[name]
    assert SERVICES["gateway-edge"]["command"] == ["reeltag", "serve", "--profile", "edge"]
    used = {service for service in SERVICES if {"cpu", "gpu"} <= set(SERVICES[service]["profiles"])}
    assert used == set()


def wait_until_healthy(gateway: Container) -> None:
    """Until the health check of its image says that it is ready."""
    deadline = time.monotonic() + 90
    health_check = stages(ROOT / "deploy/Dockerfile")["gateway"].health_check
    while (probe := gateway.run(health_check)).returncode != 0:
        assert gateway.process.poll() is None, gateway.log.read_text()
        assert time.monotonic() < deadline, gateway.log.read_text() + probe.stderr.decode()
        time.sleep(0.3)


def asked(gateway: Container) -> dict[str, Any]:
    """The answer to an image that is sent from inside."""
    wait_until_healthy(gateway)
    ask = (
        "import sys, urllib.request as r; "
        "sent = {'data': sys.stdin.buffer.read(), 'headers': {'Content-Type': 'image/jpeg'}}; "
        "print(r.urlopen(r.Request('http://127.0.0.1:8000/v1/images', **sent)).read().decode())"
    )
    answer = gateway.run(["python", "-c", ask], given=jpeg())
    assert answer.returncode == 0, answer.stderr.decode()
    return dict(json.loads(answer.stdout))


def volume(folder: Path, name: str, mode: int = 0o755) -> Path:
    """An empty one, of the user that an image's folder of that name has."""
    path = folder / name
    path.mkdir(mode=mode)
    shutil.chown(path, 1000, 1000)
    return path


def test_the_profile_cpu_starts_and_answers(tmp_path: Path) -> None:
    with container(
        SERVICES["gateway-cpu"],
        stage_of("gateway-cpu"),
        tmp_path,
        {name: volume(tmp_path, name) for name in ("models", "state")},
    ) as gateway:
        assert asked(gateway)["results"][0]["tags"]
        written = gateway.run(["sh", "-c", "touch /opt/reeltag/x || touch /etc/x || touch /x"])
        assert written.returncode != 0


def test_the_profile_gpu_starts_and_answers(tmp_path: Path, model_repository: Path) -> None:
    """With networks for OpenVINO in the place of plans, and the Triton that comes with reeltag in that of NVIDIA's."""
    plans = tmp_path / "plans"
    shutil.copytree(model_repository, plans)
    for path in (plans, *plans.rglob("*")):
        shutil.chown(path, 1000, 1000)
    volumes = {"plans": plans, "triton-socket": volume(tmp_path, "socket", 0o700)}
    volumes["state"] = volume(tmp_path, "state")
    stage = stage_of("triton")
    stage.runs.append("pip install openvino")
    (tmp_path / "triton").mkdir()
    (tmp_path / "gateway").mkdir()
    with (
        container(SERVICES["triton"], stage, tmp_path / "triton", volumes, triton_shim(tmp_path)) as triton,
        container(SERVICES["gateway-gpu"], stage_of("gateway-gpu"), tmp_path / "gateway", volumes) as gateway,
    ):
        assert asked(gateway)["results"][0]["tags"]
        test = SERVICES["triton"]["healthcheck"]["test"]
        assert test[0] == "CMD"
        assert triton.run(test[1:]).returncode == 0


def triton_shim(folder: Path) -> Path:
    """`tritonserver` where the container has it on its path."""
    files, shims = find(), folder / "shims"
    backend = shims / "backends" / "python"
    backend.mkdir(parents=True)
    for part in (*(path for path in files.python_backend.iterdir() if path.is_file()), files.stub):
        shutil.copy(part, backend)
    (backend / files.stub.name).chmod(0o755)
    server = shims / "tritonserver"
    server.write_text(
        f"#!/bin/sh\nexport LD_LIBRARY_PATH={files.libraries}:{files.python_library}\n"
        f'exec {files.server} "$@" --backend-directory=/shims/backends\n'
    )
    server.chmod(0o755)
    return shims


def test_the_exporter_builds_what_triton_is_given(tmp_path: Path) -> None:
    """With TensorRT for RTX, which builds without a GPU, in the place of the container's TensorRT."""
    pytest.importorskip("tensorrt_rtx")
    plans, stage = volume(tmp_path, "plans"), stage_of("exporter")
    for _ in range(2):  # the second time it finds its plans
        folder = tmp_path / str(time.monotonic_ns())
        folder.mkdir()
        with container(SERVICES["exporter"], stage, folder, {"plans": plans}) as exporter:
            assert exporter.process.wait(120) == 0, exporter.log.read_text()
    for network in stage.command[2:]:
        assert json.loads((plans / network / "passport.json").read_text())["runtime"] == "tensorrt"
    backends = {"decode", NMS_OF_KIND["engine"]}  # suppression is in the plan
    assert {"detect", "classify", "detect_classify", *backends} <= {path.name for path in plans.iterdir()}


def test_the_fleet_shares_its_database_and_its_files() -> None:
    settings = [SERVICES[name]["environment"] for name in ("gateway-fleet", "worker", "migrate")]
    shared = ("REELTAG_DATABASE_URL", "REELTAG_WEBHOOK_SECRET", "REELTAG_SOURCE_ROOTS")
    assert all(len({one[name] for one in settings}) == 1 for name in shared)
    assert SERVICES["worker"]["volumes"] == SERVICES["gateway-fleet"]["volumes"]
    assert "ports" not in SERVICES["worker"]
    assert "container_name" not in SERVICES["worker"], "it is scaled"
    postgres = SERVICES["postgres"]["environment"]
    made = f"{postgres['POSTGRES_USER']}:{postgres['POSTGRES_PASSWORD']}@postgres/{postgres['POSTGRES_DB']}"
    assert settings[0]["REELTAG_DATABASE_URL"] == f"postgresql://{made}"

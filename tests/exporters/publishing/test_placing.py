"""Where networks run: on machines that are described, with what the driver and the packages would say there."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from exporters.publishing import repository
from exporters.publishing.artefact import Artefact
from exporters.publishing.passport import Gpu, PlanBuild
from exporters.publishing.placing import FEWEST_FREE_BYTES, Machine, notices, place, places
from exporters.publishing.serving import Share, machine_of, prepared
from reeltag.errors import ModelRepositoryError
from reeltag.gpu import Cuda, Runtime, look
from reeltag.gpu import Gpu as Device
from tests.exporters.constant_networks import constant_network
from tests.exporters.publishing.test_configs import check_steps, read_config
from tests.reeltag.gpu.driver import Card, Driver

L4 = Device(0, "GPU-a", "NVIDIA L4", (8, 9), 24 << 30, 20 << 30)
RUNTIMES = (Runtime("tensorrt", "10.13.3.9"), Runtime("tensorrt_rtx", "1.7.1.116"), Runtime("onnxruntime", "1.31.1"))
WITH_GPU = Machine(Cuda((L4,), "580.82", (13, 0)), RUNTIMES)
WITHOUT = Machine(Cuda(problem="this machine has no NVIDIA driver"))
BUILD = PlanBuild(
    module="tensorrt",
    version="10.13.3.9",
    gpu=Gpu(name="NVIDIA L4", compute_capability="8.9"),
    batch_sizes=(1, 8, 32),
)


def graph(folder: Path, runtime: str = "openvino", **said: Any) -> Artefact:
    made = constant_network(folder / runtime, f"of_{runtime}", "detect", ("cat", "dog"), 0, runtime=runtime)
    return replace(made, passport=made.passport.model_copy(update=said))


def plan(folder: Path, *, with_graph: bool = True, **build: Any) -> Artefact:
    made = graph(folder, "tensorrt", plan=BUILD.model_copy(update=build))
    file = folder / "model.plan"
    file.write_bytes(b"a plan")
    return replace(made, file=file, graph=made.file if with_graph else None)


def test_a_graph_runs_on_the_gpu_where_there_is_one(tmp_path: Path) -> None:
    for runtime in ("openvino", "onnxruntime"):
        found = place(graph(tmp_path, runtime), WITH_GPU)
        assert (found.engine, found.artefact.passport.runtime, found.reason) == ("onnxruntime", "onnxruntime", "")
    assert place(graph(tmp_path), WITHOUT).artefact.passport.runtime == "openvino"


def test_what_comes_with_reeltag_runs_on_the_gpu_beside_a_cpu_with_bfloat16(tmp_path: Path) -> None:
    found = place(graph(tmp_path, precision="bf16", exported=False), WITH_GPU)
    assert (found.engine, found.artefact.passport.precision, found.reason) == ("onnxruntime", "fp32", "")


def test_a_plan_runs_on_the_gpu_that_it_was_built_for(tmp_path: Path) -> None:
    found = place(plan(tmp_path), WITH_GPU)
    assert (found.engine, found.artefact.file.name) == ("tensorrt", "model.plan")
    rtx = plan(tmp_path, module="tensorrt_rtx", version="1.7.1.116", gpu=None, targets=("SM89", "SM120"))
    assert place(rtx, WITH_GPU).engine == "tensorrt_rtx"


@pytest.mark.parametrize(
    ("build", "said"),
    [
        ({"gpu": Gpu(name="NVIDIA H200", compute_capability="9.0")}, "it was built for NVIDIA H200"),
        ({"version": "10.5.0"}, "built by tensorrt 10.5.0, and 10.13.3.9 is here"),
        ({"module": "tensorrt_rtx", "version": "1.7.1", "gpu": None, "targets": ("SM120",)}, "built for SM120"),
    ],
)
def test_the_graph_of_a_plan_that_cannot_run_runs_instead(tmp_path: Path, build: dict[str, Any], said: str) -> None:
    found = place(plan(tmp_path, **build), WITH_GPU)
    assert (found.engine, found.artefact.passport.plan) == ("onnxruntime", None)
    assert said in found.reason
    assert "--rebuild-stale" in found.reason
    with pytest.raises(ModelRepositoryError, match="graph that it was built from is not beside it"):
        place(plan(tmp_path, with_graph=False, **build), WITH_GPU)


def test_without_a_gpu_all_is_served_from_the_cpu_by_name_of_what_changed(tmp_path: Path) -> None:
    found, problems = places([graph(tmp_path), graph(tmp_path, "onnxruntime"), plan(tmp_path)], WITHOUT)
    assert problems == {}
    assert {name: one.artefact.passport.runtime for name, one in found.items()} == dict.fromkeys(found, "openvino")
    said = notices(found, WITHOUT)
    assert [line.partition(":")[0] for line in said] == ["of_onnxruntime", "of_tensorrt"]
    assert all("no NVIDIA driver" in line for line in said)


def test_a_gpu_without_free_memory_is_left_alone(tmp_path: Path) -> None:
    full = replace(WITH_GPU, cuda=replace(WITH_GPU.cuda, gpus=(replace(L4, free_bytes=FEWEST_FREE_BYTES - 1),)))
    found, _ = places([graph(tmp_path)], full)
    assert found["of_openvino"].engine == ""
    assert "NVIDIA L4 has 1023 MiB free, and 1024 are needed" in notices(found, full)[0]


def test_packages_that_are_missing_are_named_with_what_brings_them(tmp_path: Path) -> None:
    bare = replace(
        WITH_GPU, runtimes=(Runtime("onnxruntime", "", "it is not installed", "pip install 'reeltag[gpu]'"),)
    )
    found, _ = places([graph(tmp_path)], bare)
    assert notices(found, bare) == [
        "networks run on the CPU, though NVIDIA L4 is here: onnxruntime: it is not installed "
        "(`pip install 'reeltag[gpu]'`)"
    ]


@pytest.mark.parametrize(("said", "reason"), [({"precision": "int8"}, "int8"), ({"one_by_one": True}, "one picture")])
def test_what_the_gpu_is_not_made_for_stays_on_the_cpu_by_name(
    tmp_path: Path, said: dict[str, Any], reason: str
) -> None:
    found = place(graph(tmp_path, **said), WITH_GPU)
    assert (found.engine, found.artefact.passport.runtime) == ("", "openvino")
    assert reason in found.reason


def test_hidden_gpus_are_none(tmp_path: Path) -> None:
    hidden = Machine(look({"CUDA_VISIBLE_DEVICES": ""}, Driver([Card()])), RUNTIMES)
    found = place(graph(tmp_path, "onnxruntime"), hidden)
    assert found.engine == ""
    assert "CUDA_VISIBLE_DEVICES=" in found.reason


def test_one_repository_serves_both(tmp_path: Path) -> None:
    """What is in the repository stays as it is; folders and versions are of what is served."""
    target = tmp_path / "repository"
    repository.publish(target, [graph(tmp_path, "onnxruntime")])
    before = {path: path.stat().st_mtime_ns for path in target.rglob("*")}
    kinds, versions = {}, {}
    for name, machine in {"gpu": WITH_GPU, "cpu": WITHOUT}.items():
        folder = tmp_path / name
        folder.mkdir()
        Share.of(target, machine=machine).link(folder)
        configs = {model.name: read_config(model) for model in folder.iterdir()}
        check_steps(configs)
        network = configs["of_onnxruntime"]
        kinds[name] = (network.backend, network.instance_group[0].kind, sorted(p.name for p in _files(folder, network)))
        versions[name] = next(step.model_version for step in configs["detect"].ensemble_scheduling.step[1:])
    assert kinds["gpu"] == ("python", 1, ["batches.py", "model.onnx", "model.py", "onnx_engine.py", "onnx_parts.py"])
    assert kinds["cpu"] == ("python", 2, ["model.onnx", "model.py"])
    assert versions["gpu"] != versions["cpu"], "an answer says which runtime it is of"
    assert {path: path.stat().st_mtime_ns for path in target.rglob("*")} == before


def _files(folder: Path, config: object) -> list[Path]:
    (version,) = (path for path in (folder / config.name).iterdir() if path.is_dir())  # type: ignore[attr-defined]
    return list(version.iterdir())


def test_a_server_that_could_not_use_its_gpu_goes_on_without_it(tmp_path: Path) -> None:
    """Who loads networks into it later has to know that."""
    target, folder = tmp_path / "repository", tmp_path / "server"
    repository.publish(target, [graph(tmp_path)])
    (folder / "models").mkdir(parents=True)
    with prepared(target, lambda: Machine.without_gpu("cuDNN is broken")) as ready:
        assert not ready.uses_gpu
        ready.link(folder / "models")
    assert machine_of(folder).cuda.problem == "cuDNN is broken"
    assert machine_of(tmp_path) == Machine.here()


def test_where_the_gpu_goes_away_the_next_start_is_on_the_cpu(tmp_path: Path) -> None:
    target = tmp_path / "repository"
    repository.publish(target, [graph(tmp_path, "onnxruntime")])
    machines = iter([WITH_GPU, WITH_GPU, WITHOUT])
    kinds = []
    with prepared(target, lambda: next(machines)) as ready:
        assert ready.uses_gpu
        for name in ("first", "second"):
            models = tmp_path / name / "models"
            models.mkdir(parents=True)
            ready.link(models)
            kinds.append(read_config(models / "of_onnxruntime").instance_group[0].kind)
    assert kinds == [1, 2]

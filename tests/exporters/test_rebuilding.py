"""Plans in a model repository: published with a passport, refused where they cannot run, rebuilt by name."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from exporters.export import ExportOptions, export
from exporters.making import Making
from exporters.plans.build import BatchProfile, PlanOptions
from exporters.publishing import repository
from exporters.publishing.exported import artefacts_in, serving
from exporters.publishing.listing import listing
from exporters.publishing.passport import Gpu
from exporters.publishing.placing import Machine
from exporters.publishing.serving import check_artefact, prepared
from exporters.rebuilding import rebuild_stale
from exporters.sources.source import bundled_source
from reeltag.errors import InvalidOption, ModelRepositoryError

pytest.importorskip("tensorrt_rtx", reason="tensorrt_rtx is not installed (pip install tensorrt-rtx)")

NAME = "efficientnet_lite0"
PLAN = PlanOptions(batch=BatchProfile(usual=4), targets=("SM89",))
OPTIONS = ExportOptions(Making(runtime="tensorrt", builder="tensorrt_rtx", plan=PLAN))


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("repository")
    assert NAME in export(bundled_source(NAME), OPTIONS, target=target).written
    return target


def test_a_plan_is_published_with_its_graph_and_passport(published: Path) -> None:
    (artefact,) = artefacts_in(published)
    plan = artefact.passport.plan
    assert plan is not None
    assert (plan.module, plan.targets, plan.batch_sizes) == ("tensorrt_rtx", ("SM89",), (1, 4, 32))
    assert {path.name for path in (published / NAME).rglob("*") if path.is_file()} == {
        *("config.pbtxt", "passport.json", "labels.txt", "graph.onnx", "model.plan", "reference.npz")
    }
    config = (published / NAME / "config.pbtxt").read_text()
    assert 'platform: "tensorrt_plan"' in config
    assert "max_batch_size: 32" in config
    assert repository.publish(published, [NAME]) == []


def test_a_plan_for_another_gpu_or_version_is_refused_by_name(published: Path) -> None:
    (artefact,) = artefacts_in(published)
    check_artefact(artefact, Gpu(name="NVIDIA L4", compute_capability="8.9"))
    with pytest.raises(ModelRepositoryError, match=rf"plan of {NAME}.*for SM89, and Orin .* {NAME} --rebuild-stale"):
        check_artefact(artefact, Gpu(name="Orin", compute_capability="8.7"))
    with pytest.raises(ModelRepositoryError, match=r"built by tensorrt_rtx .*, and 9\.0\.1 is here"):
        check_artefact(artefact, None, tensorrt_version="9.0.1")
    listed = {model.name: model for model in listing(published)}
    assert (listed[NAME].serves, listed[NAME].why_not) == (True, ""), "where its plan cannot, its graph does"


def test_a_stale_plan_is_built_anew_from_the_graph_beside_it(published: Path, tmp_path: Path) -> None:
    path = published / NAME / "passport.json"
    passport = json.loads(path.read_text())
    passport["plan"]["version"] = "1.0.0.1"
    path.write_text(json.dumps(passport))
    assert rebuild_stale(published, [NAME]) == [NAME]
    (artefact,) = artefacts_in(published)
    assert artefact.passport.plan is not None
    assert artefact.passport.plan.version != "1.0.0.1"
    assert artefact.passport.plan.batch_sizes == (1, 4, 32)
    with pytest.raises(InvalidOption, match=f"nanodet_g has no plan in .*these have: {NAME}"):
        rebuild_stale(published, ["nanodet_g"])
    assert rebuild_stale(tmp_path) == []


def test_a_plan_that_was_damaged_is_refused(published: Path) -> None:
    (artefact,) = artefacts_in(published)
    file = artefact.file
    whole = file.read_bytes()
    file.write_bytes(whole[:-1])
    try:
        with pytest.raises(ModelRepositoryError, match=f"model.plan is not what was exported.*reeltag export {NAME}"):
            repository.publish(published)
    finally:
        file.write_bytes(whole)


def test_tensorrt_for_rtx_builds_where_it_is_what_is_installed(tmp_path: Path) -> None:
    if importlib.util.find_spec("tensorrt") is not None:
        pytest.skip("tensorrt is here")
    report = export(bundled_source(NAME), ExportOptions(Making(runtime="tensorrt")), target=tmp_path)
    plan = report.artefact.passport.plan
    assert plan is not None
    assert (plan.module, plan.gpu, plan.targets) == ("tensorrt_rtx", None, ("SM80", "SM86", "SM89", "SM120"))


def test_without_either_tensorrt_both_are_named(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules |= {'tensorrt': None, 'tensorrt_rtx': None}\n"
        "from exporters.plans.tensorrt_api import installed; installed()"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "SetupError" in run.stderr
    assert "pip install 'reeltag[tensorrt]'" in run.stderr
    assert "pip install tensorrt-rtx" in run.stderr


def test_a_plan_that_cannot_run_here_is_served_by_its_graph_or_left_out_by_name(
    published: Path, tmp_path: Path
) -> None:
    target = tmp_path / "repository"
    shutil.copytree(published, target)
    without_gpu = Machine.without_gpu("the test has none")
    with prepared(target, lambda: without_gpu) as ready:
        (notice,) = ready.notices
        assert notice.startswith(f"{NAME}: its graph runs on the CPU in openvino, because the plan of {NAME} cannot")
        assert "there is no NVIDIA GPU (the test has none)" in notice
        assert {NAME, "classify", "detect", "detect_frames", "shots"} <= ready.names
    (target / NAME / "graph.onnx").unlink()
    with prepared(target, lambda: without_gpu) as ready:
        (notice,) = ready.notices
        assert notice.startswith(f"{NAME} is left out: ")
        assert not ready.names & {NAME, "classify"}, "nothing else classifies"
        assert {"detect", "detect_frames", "shots"} <= ready.names
    assert serving(target) == ["nanodet_g", NAME, "transnetv2"], "for other servers all stays as it was published"

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from exporters.catalogue.entries import MODELS
from exporters.publishing.artefact import bundled_artefact
from exporters.publishing.passport import Gpu, Passport, PlanBuild, check_servable, find_gpu, read_passport
from reeltag import gpu as gpus
from reeltag.contract import ModelCard
from reeltag.errors import ModelRepositoryError
from reeltag.measured import Measured
from tests.reeltag.gpu.driver import Card, Driver

L4 = Gpu(name="NVIDIA L4", compute_capability="8.9")
ORIN = Gpu(name="Orin", compute_capability="8.7")
REBUILD = "reeltag export yolox_s --rebuild-stale"


def plan_passport(**changes: Any) -> Passport:
    plan = {"module": "tensorrt", "version": "10.13.3.9", "gpu": L4, "batch_sizes": (1, 8, 32)} | changes
    return Passport(source="yolox_s", precision="fp16", runtime="tensorrt", plan=PlanBuild.model_validate(plan))


def check(passport: Passport, *, version: str | None = "10.13.3.9", gpu: Gpu | None = L4) -> None:
    check_servable(passport, name="yolox_s", tensorrt_version=version, gpu=gpu, rebuild=REBUILD)


def test_a_passport_comes_back_as_it_was_written(tmp_path: Path) -> None:
    passport = plan_passport().model_copy(
        update={"kept_fp32": ("Conv_3: overflows in fp16",), "measured": Measured(accuracy={"AP": 40.2})}
    )
    passport.write(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["passport.json"]
    assert read_passport(tmp_path) == passport
    assert read_passport(tmp_path).sha256 == passport.sha256
    assert plan_passport().sha256 != passport.sha256


def test_speed_says_nothing_of_the_answers() -> None:
    slow, quick = (Measured(accuracy={"AP": 40.2}, images_per_second=speed, machine="a CPU") for speed in (8.0, 9.0))
    one, other = (plan_passport().model_copy(update={"measured": measured}) for measured in (slow, quick))
    assert one.sha256 == other.sha256


def test_the_fingerprint_alone_is_a_passport(tmp_path: Path) -> None:
    """What folders without a network, such as ensembles, have."""
    (tmp_path / "passport.json").write_text('{"fingerprint": "abc"}')
    assert read_passport(tmp_path) == Passport(fingerprint="abc")


def test_a_missing_or_damaged_passport_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelRepositoryError, match=r"passport\.json cannot be read \(No such file"):
        read_passport(tmp_path)
    for content, problem in (("{", "the file: Invalid JSON"), ('{"plan": {"module": "onnx"}}', "plan.module: Input")):
        (tmp_path / "passport.json").write_text(content)
        with pytest.raises(ModelRepositoryError, match=f"is no passport \\({problem}.*export the network again"):
            read_passport(tmp_path)


def test_what_fits_is_served() -> None:
    check(plan_passport())
    check(plan_passport(), version="10.13.3.11")
    check(plan_passport(), version=None)
    check(plan_passport(module="tensorrt_rtx", gpu=None, targets=("SM86", "SM89")))
    check(Passport(precision="bf16", runtime="openvino"), version=None, gpu=None)


@pytest.mark.parametrize(
    ("changes", "here", "problem"),
    [
        ({"version": "8.5.2.2"}, {}, r"it was built by tensorrt 8\.5\.2\.2, and 10\.13\.3\.9 is here"),
        ({"gpu": ORIN}, {}, r"built for Orin \(compute capability 8\.7\), and NVIDIA L4 \(compute capability 8\.9\)"),
        ({"gpu": None, "targets": ("SM75", "SM86")}, {}, "built for SM75, SM86, and NVIDIA L4"),
        ({"gpu": None}, {}, "does not say for which GPU"),
    ],
)
def test_a_stale_plan_is_refused_with_the_command_that_rebuilds_it(
    changes: dict[str, Any], here: dict[str, Any], problem: str
) -> None:
    with pytest.raises(ModelRepositoryError, match=f"plan of yolox_s cannot be served here: .*{problem}") as caught:
        check(plan_passport(**changes), **here)
    assert str(caught.value).endswith(f"rebuild it: {REBUILD}")


def test_without_a_gpu_nobody_is_told_to_rebuild() -> None:
    with pytest.raises(ModelRepositoryError, match=r"yolox_s cannot be served here: there is no NVIDIA GPU$"):
        check(plan_passport(), gpu=None)


def test_the_gpu_is_asked_of_the_driver() -> None:
    assert find_gpu(gpus.look({}, Driver())) is None
    assert find_gpu(gpus.look({}, Driver([Card(), Card("GPU-b", "NVIDIA H200", (9, 0))]))) == L4
    assert find_gpu(gpus.look({"CUDA_VISIBLE_DEVICES": ""}, Driver([Card()]))) is None


def test_reading_passports_imports_nothing_heavy() -> None:
    code = (
        "import sys, exporters.publishing.passport; print([m for m in ('onnx', 'torch', 'numpy') if m in sys.modules])"
    )
    root = Path(__file__).parents[3]
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    assert run.stdout.strip() == "[]"


def test_what_was_measured_is_on_the_card_and_speed_changes_no_version() -> None:
    bundled = bundled_artefact(MODELS["nanodet_g"])

    def card(images_per_second: float) -> ModelCard:
        measured = Measured(accuracy={"AP": 30.5}, pictures=64, images_per_second=images_per_second)
        return replace(bundled, passport=bundled.passport.model_copy(update={"measured": measured})).card

    assert bundled.card.measured is None
    assert card(70).measured == Measured(accuracy={"AP": 30.5}, pictures=64, images_per_second=70)
    assert card(70).version == card(80).version != bundled.card.version

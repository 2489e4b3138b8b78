from __future__ import annotations

import pytest

from reeltag.gpu import look, nvml
from tests.reeltag.gpu.driver import Card, Driver

L4 = Card()
H200 = Card("GPU-bbbb0000-2222", "NVIDIA H200", (9, 0), 141 << 30, 140 << 30)


def test_what_the_driver_says_of_its_gpus() -> None:
    driver = Driver([L4, H200])
    found = look({}, driver)
    assert (found.driver, found.version, found.problem) == ("580.82.07", (13, 0), "")
    assert [(gpu.index, gpu.name, gpu.sm) for gpu in found.gpus] == [
        (0, "NVIDIA L4", "SM89"),
        (1, "NVIDIA H200", "SM90"),
    ]
    assert (found.gpus[1].total_bytes, found.gpus[1].free_bytes) == (141 << 30, 140 << 30)
    assert driver.started == 0, "NVML is let go"


@pytest.mark.parametrize(
    ("visible", "names"),
    [
        ("1", ["NVIDIA H200"]),
        ("1,0", ["NVIDIA H200", "NVIDIA L4"]),
        ("GPU-bbbb", ["NVIDIA H200"]),
        ("0,7,1", ["NVIDIA L4"]),  # CUDA stops at the first that is not there
        ("", []),
        ("-1", []),
        ("NoDevFiles", []),
    ],
)
def test_only_visible_gpus_are_seen_and_numbered(visible: str, names: list[str]) -> None:
    found = look({"CUDA_VISIBLE_DEVICES": visible}, Driver([L4, H200]))
    assert [gpu.name for gpu in found.gpus] == names
    assert [gpu.index for gpu in found.gpus] == list(range(len(names)))
    assert bool(found.problem) is not bool(names)
    assert names or f"CUDA_VISIBLE_DEVICES={visible}" in found.problem


def test_a_driver_that_does_not_answer_is_no_error_and_says_why() -> None:
    found = look({}, Driver([L4], init_status=18))
    assert found.gpu is None
    assert "restart the machine" in found.problem


def test_how_busy_a_gpu_is() -> None:
    with nvml.started(Driver([L4, H200])) as driver:
        assert driver.busy_percent(driver.device(1)) == 40


def test_a_driver_without_a_gpu() -> None:
    found = look({}, Driver())
    assert (found.gpu, found.driver) == (None, "580.82.07")
    assert "no GPU" in found.problem

"""What an embedded server is told of a GPU; on a machine with none, and of described ones."""

from __future__ import annotations

import os
from pathlib import Path

from reeltag.embedded.cuda import environment_with_gpu, runs_on_gpu, server_options
from reeltag.gpu import look
from tests.reeltag.gpu.driver import Card, Driver


def test_only_models_on_a_gpu_make_the_server_look_for_one(tmp_path: Path) -> None:
    for name, kind in (("decode", "KIND_CPU"), ("other", "KIND_AUTO")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.pbtxt").write_text(f"instance_group {{ kind: {kind} }}")
    assert not runs_on_gpu(tmp_path)
    (tmp_path / "other" / "config.pbtxt").write_text("instance_group { kind: KIND_GPU gpus: 0 }")
    assert runs_on_gpu(tmp_path)


def test_the_pool_fits_the_gpu() -> None:
    large = look({}, Driver([Card(total_bytes=24 << 30)]))
    small = look({}, Driver([Card(total_bytes=4 << 30)]))
    assert server_options(large) == [f"--cuda-memory-pool-byte-size=0:{512 << 20}"]
    assert server_options(small) == [f"--cuda-memory-pool-byte-size=0:{256 << 20}"]
    assert server_options(look({}, Driver())) == []


def test_devices_are_numbered_as_they_were_chosen_and_memory_can_be_shared(tmp_path: Path) -> None:
    given = {"LD_LIBRARY_PATH": "/own", "PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True"}
    found = environment_with_gpu(given, tmp_path)
    assert found["LD_LIBRARY_PATH"].split(os.pathsep)[0] == "/own"
    assert found["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"
    assert "PYTORCH_CUDA_ALLOC_CONF" not in found
    assert (
        environment_with_gpu({"CUDA_DEVICE_ORDER": "FASTEST_FIRST"}, tmp_path)["CUDA_DEVICE_ORDER"] == "FASTEST_FIRST"
    )
    assert given == {"LD_LIBRARY_PATH": "/own", "PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True"}

"""What runs networks on a GPU, by what is installed: packages and libraries are empty files here."""

from __future__ import annotations

from pathlib import Path

import pytest

from reeltag.gpu import CUDA_LIBRARIES, Cuda, Installed, Runtime, jpeg_decoder, look, runtimes
from tests.reeltag.gpu.driver import Card, Driver

H200 = Card("GPU-b", "NVIDIA H200", (9, 0), 141 << 30, 140 << 30)
VERSIONS = {"torch": "2.11.0", "onnxruntime-gpu": "1.31.1", "tensorrt-rtx": "1.7.1.116"}


def cuda(card: Card = H200, version: int = 13000) -> Cuda:
    return look({}, Driver([card], cuda=version))


def installed(
    folder: Path, *, major: int = 13, torch_major: int = 13, versions: dict[str, str] = VERSIONS
) -> Installed:
    """As pip leaves it after `pip install 'reeltag[gpu]'`."""
    texts = {
        "torch/version.py": "__version__ = '2.11.0'\ncuda: str | None = '13.0'\n",
        "onnxruntime/capi/build_and_package_info.py": f"package_name = 'onnxruntime-gpu'\ncuda_version = '{major}.0'\n",
        "onnxruntime/capi/libonnxruntime_providers_cuda.so": "",
        **{f"nvidia/cu{major}/lib/{name}": "" for name in CUDA_LIBRARIES[major]},
    }
    for name, text in texts.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return Installed((folder,), versions)


def of_onnxruntime(machine: Cuda, packages: Installed) -> Runtime:
    return {one.name: one for one in runtimes(machine, packages, {})}["onnxruntime"]


def test_onnx_runtime_runs_where_all_is_there_and_tensorrt_says_why_not(tmp_path: Path) -> None:
    found = {one.name: one for one in runtimes(cuda(), installed(tmp_path), {})}
    assert found["onnxruntime"].problem == ""
    assert "NVIDIA H200 has 9.0" in found["tensorrt_rtx"].problem
    assert found["tensorrt"].remedy == "pip install 'reeltag[tensorrt]'"


@pytest.mark.parametrize("capability", [(8, 0), (8, 6), (8, 9), (12, 0), (12, 1), (13, 0)])
def test_tensorrt_for_rtx_runs_on_the_gpus_that_it_takes(tmp_path: Path, capability: tuple[int, int]) -> None:
    card = Card("GPU-c", "NVIDIA RTX", capability)
    found = {one.name: one for one in runtimes(cuda(card), installed(tmp_path), {})}
    assert found["tensorrt_rtx"].problem == ""
    without = {name: version for name, version in VERSIONS.items() if name != "tensorrt-rtx"}
    found = {one.name: one for one in runtimes(cuda(card), installed(tmp_path, versions=without), {})}
    assert found["tensorrt_rtx"].remedy == "pip install tensorrt-rtx"


def test_jpegs_are_decoded_where_the_codec_and_its_library_are_there(tmp_path: Path) -> None:
    packages = installed(tmp_path, versions={**VERSIONS, "nvidia-nvimgcodec-cu13": "0.9.0"})
    assert jpeg_decoder(cuda(), packages, {}) == Runtime(
        "nvimgcodec", "0.9.0", "libnvjpeg.so.13 is missing", "pip install nvidia-nvjpeg"
    )
    (tmp_path / "nvidia/cu13/lib/libnvjpeg.so.13").write_text("")
    assert jpeg_decoder(cuda(), packages, {}).problem == ""
    without = jpeg_decoder(cuda(), installed(tmp_path), {})
    assert (without.problem, without.remedy) == (
        "nvidia-nvimgcodec-cu13 is not installed",
        "pip install 'reeltag[gpu]'",
    )
    assert "no NVIDIA driver" in jpeg_decoder(Cuda(problem="no NVIDIA driver"), packages, {}).problem


def test_a_driver_that_is_too_old_says_what_it_runs(tmp_path: Path) -> None:
    for version, said in ((12080, "CUDA up to 12.8, and CUDA 13"), (11040, "CUDA up to 11.4, and CUDA 12")):
        found = of_onnxruntime(cuda(version=version), installed(tmp_path))
        assert said in found.problem
        assert "newer NVIDIA driver" in found.remedy


def test_libraries_that_are_missing_are_named_with_the_line_that_brings_them(tmp_path: Path) -> None:
    packages = installed(tmp_path)
    (tmp_path / "nvidia/cu13/lib/libcudnn.so.9").unlink()
    found = of_onnxruntime(cuda(), packages)
    assert "libcudnn.so.9 of CUDA 13" in found.problem
    assert found.remedy == "pip install nvidia-cudnn-cu13"


def test_libraries_of_another_major_version_are_refused_by_name(tmp_path: Path) -> None:
    found = of_onnxruntime(cuda(), installed(tmp_path, major=12))
    assert "built for CUDA 12 and torch for CUDA 13" in found.problem


def test_the_build_for_cpus_that_overwrote_the_other_is_noticed(tmp_path: Path) -> None:
    packages = installed(tmp_path, versions={**VERSIONS, "onnxruntime": "1.31.1"})
    assert of_onnxruntime(cuda(), packages).problem == "", "it was installed first"
    (tmp_path / "onnxruntime/capi/build_and_package_info.py").write_text("package_name = 'onnxruntime'\n")
    found = of_onnxruntime(cuda(), packages)
    assert "overwritten" in found.problem
    assert "pip uninstall -y onnxruntime;" in found.remedy


def test_without_torch_or_with_its_build_for_cpus_nothing_runs(tmp_path: Path) -> None:
    packages = installed(tmp_path)
    (tmp_path / "torch/version.py").write_text("cuda: str | None = None\n")
    assert {one.problem for one in runtimes(cuda(), packages, {})} == {"torch 2.11.0 is the build for CPUs alone"}
    without = Installed((tmp_path,), {})
    assert all("torch" in one.problem and "reeltag[gpu]" in one.remedy for one in runtimes(cuda(), without, {}))

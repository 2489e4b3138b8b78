from __future__ import annotations

from pathlib import Path

from reeltag.gpu import CUDA_LIBRARIES, library_folders, missing_libraries


def _put(folder: Path, *names: str) -> Path:
    folder.mkdir(parents=True)
    for name in names:
        (folder / name).touch()
    return folder


def test_folders_of_both_layouts_are_found(tmp_path: Path) -> None:
    of_12 = _put(tmp_path / "nvidia" / "cublas" / "lib", "libcublas.so.12")
    of_13 = _put(tmp_path / "nvidia" / "cu13" / "lib", "libcudart.so.13")
    _put(tmp_path / "nvidia" / "empty" / "lib")
    assert set(library_folders(["", str(tmp_path)])) == {of_12.resolve(), of_13.resolve()}


def test_what_is_missing_is_named_with_its_package(tmp_path: Path) -> None:
    folder = _put(tmp_path / "lib", *CUDA_LIBRARIES[13])
    assert missing_libraries(13, [folder]) == {}
    (folder / "libcudnn.so.9").unlink()
    assert missing_libraries(13, [folder]) == {"libcudnn.so.9": "nvidia-cudnn-cu13"}
    assert "libcudart.so.12" in missing_libraries(12, [folder]), "libraries of another major version do not count"

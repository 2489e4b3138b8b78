from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from exporters.catalogue.entries import MODELS
from exporters.publishing import repository
from reeltag.errors import ModelRepositoryError, UnknownModel


@pytest.fixture
def published(tmp_path: Path) -> Path:
    target = tmp_path / "repository"
    repository.publish(target)
    return target


def snapshot(folder: Path) -> dict[str, tuple[int, bytes]]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.read_bytes()) for path in files}


def test_publishing_again_writes_nothing_and_is_fast(published: Path) -> None:
    before = snapshot(published)
    began = time.process_time()
    assert repository.publish(published) == []
    assert time.process_time() - began < 1
    assert snapshot(published) == before


def test_a_damaged_folder_alone_is_written_again(published: Path) -> None:
    with (published / "nanodet_g" / "1" / "model.onnx").open("r+b") as file:
        file.truncate(1000)
    (published / "shots" / "config.pbtxt").unlink()
    assert repository.publish(published) == ["nanodet_g", "shots"]
    assert repository.publish(published) == []


def test_networks_that_were_published_before_stay(tmp_path: Path) -> None:
    repository.publish(tmp_path, ["nanodet_g"])
    assert not (tmp_path / "detect_classify").exists()
    written = repository.publish(tmp_path, ["efficientnet_lite0"])
    assert {"efficientnet_lite0", "classify", "classify_frames", "detect_classify", "decode"} == set(written)
    detector_view = MODELS["nanodet_g"].view
    assert detector_view is not None
    assert detector_view.name in (tmp_path / "decode" / "config.pbtxt").read_text()


def test_folders_of_others_are_left_alone(published: Path) -> None:
    mine = published / "my_model"
    mine.mkdir()
    (mine / "config.pbtxt").write_text('name: "my_model"')
    (published / "detect" / "passport.json").unlink()  # as if somebody had made this ensemble by hand
    before = snapshot(published)
    with pytest.raises(ModelRepositoryError, match="detect was not written by reeltag"):
        repository.publish(published)
    assert snapshot(published) == before


def test_a_full_disk_leaves_the_old_folder_served(published: Path) -> None:
    """A limit on the size of files stands for the disk: writing the network fails in its middle."""
    old = b"an older network"
    (published / "nanodet_g" / "1" / "model.onnx").write_bytes(old)
    code = (
        "import resource, signal, sys; from pathlib import Path; from exporters.publishing.repository import publish;"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000)); publish(Path(sys.argv[1]))"
    )
    root = Path(repository.__file__).parents[2]
    command = [sys.executable, "-c", code, str(published)]
    run = subprocess.run(command, capture_output=True, text=True, check=False, cwd=root)
    assert "ModelRepositoryError" in run.stderr
    assert "cannot be written" in run.stderr
    assert (published / "nanodet_g" / "1" / "model.onnx").read_bytes() == old
    assert [path.name for path in published.iterdir() if path.name.startswith(".")] == []


def test_an_exchange_that_was_killed_half_way_is_undone(published: Path) -> None:
    """Nothing of it may stay: Triton takes a folder with a dot for a model too, and would refuse to start."""
    before = snapshot(published)
    workshop = published / ".reeltag-decode"
    shutil.copytree(published / "decode", workshop / "new")
    (published / "decode").rename(workshop / "old")
    assert repository.publish(published) == []
    assert not workshop.exists()
    assert snapshot(published) == before


def test_two_that_publish_at_once_both_succeed(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from exporters.publishing.repository import publish;"
        " publish(Path(sys.argv[1]))"
    )
    root = Path(repository.__file__).parents[2]
    both = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], cwd=root) for _ in range(2)]
    assert [process.wait() for process in both] == [0, 0]
    assert repository.publish(tmp_path) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_write_permission_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(ModelRepositoryError, match="cannot be written"):
        repository.publish(tmp_path / "repository")


def test_a_file_in_the_place_of_the_repository_is_named(tmp_path: Path) -> None:
    (tmp_path / "repository").write_text("in the way")
    with pytest.raises(ModelRepositoryError, match="repository cannot be written"):
        repository.publish(tmp_path / "repository")


def test_wrong_options_say_what_would_be_right(tmp_path: Path) -> None:
    with pytest.raises(UnknownModel, match="there are: nanodet_g"):
        repository.publish(tmp_path, ["nanodet"])
    assert list(tmp_path.iterdir()) == []


def test_the_listing_says_what_is_in_a_repository(tmp_path: Path) -> None:
    assert not any(model.in_repository for model in repository.listing(tmp_path))
    repository.publish(tmp_path, ["transnetv2"])
    listed = {model.name: model for model in repository.listing(tmp_path)}
    assert listed["transnetv2"].in_repository
    assert not listed["nanodet_g"].in_repository
    assert listed["nanodet_g"].input == "416x416"

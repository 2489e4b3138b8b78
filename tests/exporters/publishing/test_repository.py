from __future__ import annotations

import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from exporters.catalogue.entries import MODELS
from exporters.publishing import configs, repository
from exporters.publishing.exported import artefacts_in
from exporters.publishing.folders import ModelFolder
from exporters.publishing.listing import listing
from reeltag.errors import ModelRepositoryError, UnknownModel
from reeltag.settings import Settings
from tests.bounded import run_without_privileges

ROOT = Path(repository.__file__).parents[2]
PUBLISH = (
    "import sys; from pathlib import Path; from exporters.publishing.repository import publish;"
    " print(publish(Path(sys.argv[1])))"
)


@pytest.fixture
def published(tmp_path: Path) -> Path:
    target = tmp_path / "repository"
    repository.publish(target)
    return target


def network_file(target: Path, name: str) -> Path:
    return next(artefact.file for artefact in artefacts_in(target) if artefact.spec.name == name)


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
    with network_file(published, "nanodet_g").open("r+b") as file:
        file.truncate(1000)
    (published / "shots" / "config.pbtxt").unlink()
    assert repository.publish(published) == ["nanodet_g", "shots"]
    assert repository.publish(published) == []


def test_networks_that_were_published_before_stay(tmp_path: Path) -> None:
    repository.publish(tmp_path, ["nanodet_g"])
    assert not (tmp_path / "detect_classify").exists()
    written = repository.publish(tmp_path, ["efficientnet_lite0"])
    assert {
        *("efficientnet_lite0", "classify", "classify_frames", "detect_classify", "decode"),
        *("classify.efficientnet_lite0", "classify_frames.efficientnet_lite0"),
    } == set(written)
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
    network = network_file(published, "nanodet_g")
    network.write_bytes(old)
    code = (
        "import resource, signal, sys; from pathlib import Path; from exporters.publishing.repository import publish;"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000)); publish(Path(sys.argv[1]))"
    )
    command = [sys.executable, "-c", code, str(published)]
    run = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert "ModelRepositoryError" in run.stderr
    assert "cannot be written" in run.stderr
    assert network.read_bytes() == old
    assert [path.name for path in published.parent.rglob(".*reeltag*")] == []


def test_an_exchange_that_was_killed_half_way_is_undone(published: Path) -> None:
    before = snapshot(published)
    for name, workshop in {
        "decode": published.parent / ".repository.reeltag" / "decode",
        "nms": published / ".reeltag-nms",
    }.items():
        shutil.copytree(published / name, workshop / "new")
        (published / name).rename(workshop / "old")
    assert repository.publish(published) == []
    assert [path.name for path in published.parent.rglob(".*reeltag*")] == []
    assert snapshot(published) == before


def test_a_repository_has_just_its_models_at_every_moment(tmp_path: Path) -> None:
    """Triton takes every folder for a model, those with a dot too, and its index fails while a folder is away."""
    target = tmp_path / "repository"
    folder = ModelFolder(configs.nms_config(settings=Settings()))
    target.mkdir()
    folder.replace(target)
    code = (
        "import os, sys; target, stop = sys.argv[1:]; seen = set(); print('looking', flush=True)\n"
        "while not os.path.exists(stop): seen.add(tuple(os.listdir(target)))\n"
        "print(sorted(seen))"
    )
    command = [sys.executable, "-c", code, str(target), str(tmp_path / "stop")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as watcher:
        assert watcher.stdout is not None
        assert watcher.stdout.readline() == "looking\n"
        for _ in range(200):
            folder.replace(target)
        (tmp_path / "stop").touch()
        assert watcher.stdout.read() == "[('nms',)]\n"


def test_where_nothing_can_be_written_beside_the_repository_it_is_written_within(published: Path) -> None:
    """As where the repository is a volume of a container."""
    shutil.rmtree(published / "nms")
    published.parent.chmod(0o500)
    try:
        run = run_without_privileges([sys.executable, "-c", PUBLISH, str(published)])
    finally:
        published.parent.chmod(0o700)
    assert run.stdout == "['nms']\n", run.stderr
    assert [path.name for path in published.glob(".*")] == []


def test_folders_that_come_with_a_containers_image_are_renewed(published: Path, tmp_path: Path) -> None:
    """An overlay does not rename folders of the layers below."""
    layers = tmp_path / "layers"
    for name in ("upper", "work", "root"):
        (layers / name).mkdir(parents=True)
    options = f"userxattr,lowerdir={published.parent},upperdir={layers / 'upper'},workdir={layers / 'work'}"
    inside = ["unshare", "--map-root-user", "--mount", "sh", "-c", f'mount -t overlay none -o {options} "$0" && "$@"']
    if subprocess.run([*inside, str(layers / "root"), "true"], capture_output=True, check=False).returncode:
        pytest.skip("no overlay can be mounted here")
    (published / "nms" / "passport.json").write_text("{}")
    target = layers / "root" / published.name
    command = [*inside, str(layers / "root"), sys.executable, "-c", f"{PUBLISH}; print(publish(Path(sys.argv[1])))"]
    run = subprocess.run([*command, str(target)], capture_output=True, text=True, check=False, cwd=ROOT)
    assert run.stdout == "['nms']\n[]\n", run.stderr
    assert [path.name for path in (layers / "upper" / published.name).iterdir()] == ["nms"]


def test_a_folder_without_write_permission_is_named(published: Path) -> None:
    shutil.rmtree(published / "nms")
    for folder in (published, published.parent):
        folder.chmod(0o500)
    try:
        run = run_without_privileges([sys.executable, "-c", PUBLISH, str(published)])
    finally:
        for folder in (published.parent, published):
            folder.chmod(0o700)
    assert f"NotWritable: the model repository {published} cannot be written" in run.stderr
    assert not (published / "nms").exists()


def test_a_file_in_the_place_of_the_repository_is_named(tmp_path: Path) -> None:
    (tmp_path / "repository").write_text("in the way")
    with pytest.raises(ModelRepositoryError, match="repository cannot be written"):
        repository.publish(tmp_path / "repository")


def test_wrong_options_say_what_would_be_right(tmp_path: Path) -> None:
    with pytest.raises(UnknownModel, match="there are: nanodet_g"):
        repository.publish(tmp_path, ["nanodet"])
    assert list(tmp_path.iterdir()) == []


def test_the_listing_says_what_is_in_a_repository(tmp_path: Path) -> None:
    assert not any(model.in_repository for model in listing(tmp_path))
    repository.publish(tmp_path, ["transnetv2"])
    listed = {model.name: model for model in listing(tmp_path)}
    assert listed["transnetv2"].in_repository
    assert not listed["nanodet_g"].in_repository
    assert listed["nanodet_g"].input == "416x416"

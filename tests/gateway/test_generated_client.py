"""A client that openapi-python-client generates from `/openapi.json` works as it is.

The generator wants Python 3.11 and an older typer than reeltag has, so it is not among the development packages: the
test fetches it into the cache. Earlier versions than this one send forms without a boundary.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from reeltag.places import cache_folder
from tests.gateway.fakes import FakeTagger, encoded, gateway

GENERATOR = "openapi-python-client==0.29.1"
USE = """
import io, json, sys
from generated import Client
from generated.api.images import tag_images
from generated.api.service import healthz, models
from generated.models import ErrorAnswer, TagAnswer, TagImagesBoxes, TagImagesFilesBody
from generated.types import File

client = Client(base_url=sys.argv[1])
image = open(sys.argv[2], "rb").read()
files = [File(io.BytesIO(image), "a.jpg", "image/jpeg"), File(io.BytesIO(b"no image"), "b.jpg", "image/jpeg")]
several = tag_images.sync(client=client, body=TagImagesFilesBody(file=files), tasks=["detect", "classify"])
one = tag_images.sync(client=client, body=File(io.BytesIO(image)), boxes=TagImagesBoxes.NORMALISED, top_k=1)
none = tag_images.sync_detailed(client=client, body=File(io.BytesIO(b"no image")))
assert isinstance(several, TagAnswer) and isinstance(one, TagAnswer) and isinstance(none.parsed, ErrorAnswer)
served = models.sync(client=client)
print(json.dumps({
    "names": [result.name for result in several.results],
    "labels": [found.label for found in several.results[0].detections],
    "tags": [tag.label for tag in several.results[0].tags],
    "error": several.results[1].error.code,
    "box": one.results[0].detections[0].box,
    "failed": [none.status_code, none.parsed.error.code],
    "models": [model.network for model in served.models],
    "AP": served.models[0].measured.accuracy["AP"],
    "health": healthz.sync(client=client).status,
}))
"""


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with gateway(FakeTagger()) as client:
        yield str(client.base_url)


@pytest.fixture(scope="module")
def generator() -> Path:
    """The folder of the generator's packages, which come before those of this environment."""
    if sys.version_info < (3, 11):
        pytest.skip(f"{GENERATOR} needs Python 3.11")
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    folder = cache_folder() / "tests" / f"{GENERATOR.replace('==', '-')}-{version}"
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
            target = Path(scratch) / "packages"
            install = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(target), GENERATOR]
            got = subprocess.run(install, capture_output=True, text=True, timeout=240, check=False)
            if got.returncode:
                pytest.skip(f"{GENERATOR} cannot be had: {got.stderr[-300:]}")
            with contextlib.suppress(OSError):  # somebody else was faster
                target.rename(folder)
    return folder


def test_it_works(address: str, generator: Path, tmp_path: Path) -> None:
    (tmp_path / "openapi.json").write_text(httpx.get(f"{address}/openapi.json").text)
    generate = [sys.executable, "-m", "openapi_python_client", "generate", "--path", "openapi.json", "--meta", "none"]
    environment = {**os.environ, "PYTHONPATH": str(generator), "PATH": f"{generator / 'bin'}:{os.environ['PATH']}"}
    made = subprocess.run(
        [*generate, "--output-path", "generated"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert made.returncode == 0, made.stderr + made.stdout
    (tmp_path / "use.py").write_text(USE)
    (tmp_path / "street.jpg").write_bytes(encoded(64, 48))
    command = [sys.executable, "use.py", address, "street.jpg"]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout) == {
        "names": ["a.jpg", "b.jpg"],
        "labels": ["car", "bicycle"],
        "tags": ["beach", "kitchen", "street", "forest"],
        "error": "not_an_image",
        "box": [1 / 64, 0.041667, 3 / 64, 0.083333],
        "failed": [415, "not_an_image"],
        "models": ["fake_detect", "fake_classify"],
        "AP": 39.6,
        "health": "ok",
    }

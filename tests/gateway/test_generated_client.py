"""A client that openapi-python-client generates from `/openapi.json` works as it is.

The generator wants Python 3.11 and an older typer than reeltag has, so it is not among the development packages. The
test uses the one on the path: `pipx install openapi-python-client==0.29.1`. Earlier ones send forms without a boundary.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.gateway.fakes import FakeTagger, encoded, gateway

GENERATOR = shutil.which("openapi-python-client")
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


@pytest.mark.skipif(GENERATOR is None, reason="no openapi-python-client on the path")
def test_it_works(address: str, tmp_path: Path) -> None:
    (tmp_path / "openapi.json").write_text(httpx.get(f"{address}/openapi.json").text)
    options = ["--path", "openapi.json", "--output-path", "generated", "--meta", "none"]
    subprocess.run([str(GENERATOR), "generate", *options], cwd=tmp_path, check=True, capture_output=True, timeout=60)
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

"""`decode` on a GPU in a real Triton: where there is none the memory of the CPU stands in for its own."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import numpy as np
import pytest
from google.protobuf import text_format

from exporters.publishing import configs
from reeltag import frames
from reeltag.contract import ERROR, IMAGE
from reeltag.embedded import EmbeddedTriton
from reeltag.settings import Settings
from reeltag.triton import TritonClient
from reeltag.triton_messages import Array
from tests.model_repository.test_gpu_decoding import NAMES, VIEWS, devices, jpeg, photograph, pillow

FILES = [jpeg(), b"no picture", pillow(photograph(), progressive=True), jpeg()[:9000], jpeg(640, 480)]
STANDS_IN = """

def _device_of(args: dict[str, str]) -> str | None:
    return "cpu" if args["model_name"] == "decode_gpu" else None
"""


@pytest.fixture(params=devices())
def models(request: pytest.FixtureRequest, model_repository: Path, tmp_path: Path) -> Path:
    """`decode_gpu`, and `decode_auto`, which runs on the CPU where there is no GPU."""
    for name in ("decode_gpu", "decode_auto"):
        folder = tmp_path / "models" / name
        shutil.copytree(model_repository / "decode" / "1", folder / "1")
        shutil.copytree(Path(frames.__file__).parent, folder / "1" / "frames", dirs_exist_ok=True)
        on_gpu = request.param != "cpu" and name == "decode_gpu"
        config = configs.decode_config(VIEWS, Settings(), gpus="first" if on_gpu else "all")
        config.name = name
        (folder / "config.pbtxt").write_text(text_format.MessageToString(config))
        if request.param == "cpu":
            with (folder / "1" / "model.py").open("a") as model:
                model.write(STANDS_IN)
    return tmp_path / "models"


def test_pictures_of_the_gpu_are_those_of_the_cpu(models: Path) -> None:
    async def answers(url: str) -> list[dict[str, Array]]:
        async with TritonClient(url) as client:
            images = np.array([[file] for file in FILES], np.object_)
            wanted = [ERROR, *NAMES, *(f"{name}_GEOMETRY" for name in NAMES)]
            both = [await client.infer(name, {IMAGE: images}, wanted) for name in ("decode_gpu", "decode_auto")]
            for name, whole in zip(("decode_gpu", "decode_auto"), both, strict=True):
                for some in ([ERROR], [f"{NAMES[1]}_GEOMETRY"]):  # nothing is answered that was not asked for
                    alone = await client.infer(name, {IMAGE: images}, some)
                    assert alone.keys() == set(some)
                    np.testing.assert_array_equal(alone[some[0]], whole[some[0]])
            return both

    with EmbeddedTriton(models) as triton:
        on_gpu, on_cpu = asyncio.run(answers(triton.url))
        assert "decode: JPEGs are decoded on" in triton.log.read_text()
    assert on_gpu[ERROR].tolist() == on_cpu[ERROR].tolist()
    assert [text.partition(b":")[0] for text in on_gpu[ERROR][:, 0]] == [b"", b"not_an_image", b"", b"truncated", b""]
    for name in NAMES:
        np.testing.assert_array_equal(on_gpu[f"{name}_GEOMETRY"], on_cpu[f"{name}_GEOMETRY"])
        assert np.abs(on_gpu[name].astype(int) - on_cpu[name]).mean() <= 2

"""A segmenter from its checkpoint to the tags: real export, real Triton, the gateway and what `reeltag tag` calls."""

from __future__ import annotations

import asyncio
import base64
import io
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from exporters.catalogue import entries
from exporters.publishing import repository
from gateway.answering.class_maps import to_source
from gateway.app import create_app
from reeltag.areas import NO_CLASS, shares_of
from reeltag.contract import CLASS_MAP, SHARES, Task
from reeltag.embedded import EmbeddedTriton, find
from reeltag.errors import EmbeddedUnavailable
from reeltag.frames import Fit, Pixels, View, fit_pixels, geometry_of
from reeltag.settings import Settings
from reeltag.tags import ImageTags, VideoTags
from reeltag.triton import ImageOutputs, TritonClient
from reeltag.triton_messages import Array
from tests.gateway.fakes import serving
from tests.vod.media import GREEN, RED, write_video
from vod.stores.names import result_name
from vod.stores.results import result_path
from vod.tagging import Outcome, TagOptions, tag_paths

torch: Any = pytest.importorskip("torch")
pytest.importorskip("onnx")

VIEW = View(Fit.LETTERBOX, 128, 256)
LABELS = entries.CHECKPOINT_MODELS["swiftnet_rn18"].labels
Found = tuple[npt.NDArray[np.uint8], Array]
"""Class map of the input with `NO_CLASS` around the picture, and the shares of the picture."""


def photograph(width: int, height: int, seed: int = 0) -> Pixels:
    """Soft blobs of colour: there is something everywhere."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def png(pixels: Pixels) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def network() -> Any:
    """A SwiftNet that tells most classes from each other somewhere, though it never learned what they are."""
    torch.manual_seed(3)
    built: Any = entries.network("swiftnet_rn18")
    for module in built.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0  # statistics of these pictures alone
    pictures = np.stack([photograph(VIEW.width, VIEW.height, seed) for seed in range(4)])
    with torch.inference_mode():
        built.train()(torch.from_numpy(pictures.transpose(0, 3, 1, 2).astype(np.float32)))
    return built.eval()


@pytest.fixture(scope="module")
def server(network: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedTriton]:
    from exporters.export import ExportOptions, export
    from exporters.sources.checkpoint_source import Checkpoint, checkpoint_source

    try:
        find()
    except EmbeddedUnavailable as error:
        pytest.skip(str(error))
    folder = tmp_path_factory.mktemp("segmenter")
    torch.save(network.state_dict(), folder / "best.pt")
    target = folder / "repository"
    repository.publish(target)
    source = checkpoint_source("swiftnet_rn18", Checkpoint(folder / "best.pt", size=(VIEW.height, VIEW.width)))
    export(source, ExportOptions(), target=target)
    with EmbeddedTriton(target) as running:
        yield running


@pytest.fixture(scope="module")
def client(server: EmbeddedTriton) -> Iterator[httpx.Client]:
    settings = Settings(port=0, drain_seconds=0, triton_url=server.url)
    with (
        serving(create_app(settings), settings) as address,
        httpx.Client(base_url=address, timeout=60) as http,
    ):
        yield http


def in_torch(network: Any, pixels: Pixels) -> Found:
    """What torch and NumPy make of a picture."""
    height, width = pixels.shape[:2]
    frame = fit_pixels(VIEW, pixels, width, height).transpose(2, 0, 1)[None].astype(np.float32)
    with torch.inference_mode():
        indexes = network(torch.from_numpy(frame))[0].argmax(0).numpy()
    class_map = np.full(indexes.shape, NO_CLASS, np.uint8)
    picture = geometry_of(VIEW, width, height).picture
    class_map[picture] = indexes[picture]
    counts = np.bincount(class_map[class_map != NO_CLASS], minlength=len(LABELS))
    return class_map, counts / counts.sum()


def ask(server: EmbeddedTriton, tasks: tuple[Task, ...], images: list[bytes], *, class_maps: bool) -> list[Any]:
    async def run() -> list[Any]:
        async with TritonClient(server.url) as triton:
            cards = {task: await triton.card(task.value) for task in tasks}
            return list(await triton.infer_images(cards, images, class_maps=class_maps))

    return asyncio.run(run())


PICTURES = {"fills the input": (256, 128), "scaled down": (800, 400), "portrait": (150, 400), "wide": (500, 90)}


@pytest.mark.parametrize("size", PICTURES.values(), ids=PICTURES)
def test_class_maps_and_shares_are_torchs_without_the_border(
    server: EmbeddedTriton, network: Any, size: tuple[int, int]
) -> None:
    pixels = photograph(*size, seed=5)
    expected, shares = in_torch(network, pixels)
    (answer,) = ask(server, (Task.SEGMENT,), [png(pixels)], class_maps=True)
    found = answer.tensors[Task.SEGMENT]
    assert ((expected == NO_CLASS) == (found[CLASS_MAP] == NO_CLASS)).all()
    assert (found[CLASS_MAP] != expected).mean() < 1e-4
    np.testing.assert_allclose(found[SHARES], shares, atol=1e-4)
    assert (shares > 0).sum() > 5


def test_a_batch_with_a_bad_image_and_every_combination_of_tasks(server: EmbeddedTriton, network: Any) -> None:
    pictures = [photograph(300, 150, 1), photograph(90, 200, 2), photograph(256, 128, 3)]
    images = [png(pictures[0]), b"no image", *map(png, pictures[1:])]
    expected = [in_torch(network, pixels)[1] for pixels in pictures]
    for count in (1, 2, 3):
        for tasks in itertools.combinations(Task, count):
            answers = ask(server, tasks, images, class_maps=False)
            sound = [answer for answer in answers if isinstance(answer, ImageOutputs)]
            assert [answer in sound for answer in answers] == [True, False, True, True]
            assert all(set(answer.tensors) == set(tasks) for answer in sound)
            if Task.SEGMENT in tasks:
                found = [answer.tensors[Task.SEGMENT] for answer in sound]
                assert all(set(tensors) == {SHARES} for tensors in found)
                np.testing.assert_allclose([tensors[SHARES] for tensors in found], expected, atol=1e-4)


def test_frames_have_the_shares_of_the_whole_input(server: EmbeddedTriton, network: Any) -> None:
    frames = np.stack([photograph(VIEW.width, VIEW.height, seed) for seed in range(5)])
    expected = [in_torch(network, frame) for frame in frames]

    async def run(class_maps: bool) -> list[dict[str, Array]]:
        async with TritonClient(server.url) as triton:
            card = await triton.card(Task.SEGMENT.frames_ensemble)
            return await triton.infer_frames(card, frames, class_maps=class_maps)

    for (class_map, shares), found in zip(expected, asyncio.run(run(True)), strict=True):
        assert (found[CLASS_MAP] != class_map).mean() < 1e-4
        np.testing.assert_allclose(found[SHARES], shares, atol=1e-4)
        np.testing.assert_allclose(found[SHARES], shares_of(found[CLASS_MAP], len(LABELS)), atol=1e-6)
    assert all(set(found) == {SHARES} for found in asyncio.run(run(False)))


@pytest.mark.parametrize("size", PICTURES.values(), ids=PICTURES)
def test_the_gateway_answers_shares_and_a_picture_of_the_classes(
    client: httpx.Client, network: Any, size: tuple[int, int]
) -> None:
    pixels = photograph(*size, seed=6)
    class_map, shares = in_torch(network, pixels)
    answer = client.post("/v1/images?tasks=segment,detect&class_map=true", content=png(pixels))
    assert answer.status_code == 200, answer.text
    (result,) = answer.json()["results"]
    found = {entry["label"]: entry["share"] for entry in result["shares"]}
    assert list(found.values()) == sorted(found.values(), reverse=True)
    assert found == pytest.approx({LABELS[i]: shares[i] for i in np.flatnonzero(shares)}, abs=1e-4)
    picture = Image.open(io.BytesIO(base64.b64decode(result["class_map"]["png"])))
    assert picture.size == size
    expected = to_source(class_map, geometry_of(VIEW, *size))
    assert (np.asarray(picture) != expected).mean() < 1e-3
    palette = picture.getpalette() or []
    for entry in result["class_map"]["legend"]:
        assert LABELS[entry["index"]] == entry["label"]
        assert bytes.fromhex(entry["colour"][1:]) == bytes(palette[3 * entry["index"] : 3 * entry["index"] + 3])
    assert answer.json()["model_versions"].keys() == {"nanodet_g", "swiftnet_rn18"}


def test_shares_become_tags_of_images_and_videos(server: EmbeddedTriton, network: Any, tmp_path: Path) -> None:
    inputs = tmp_path / "in"
    inputs.mkdir()
    pixels = photograph(120, 300, 7)
    (inputs / "photo.png").write_bytes(png(pixels))
    write_video(inputs / "film.mp4", [RED] * 25 + [GREEN] * 25)

    async def run() -> list[Outcome]:
        async with TritonClient(server.url) as triton:
            return await tag_paths([inputs], tmp_path / "out", triton, TagOptions())

    assert all(not outcome.message for outcome in asyncio.run(run()))
    photo = ImageTags.model_validate_json(
        result_path(tmp_path / "out", result_name(inputs / "photo.png"), ".tags.json").read_bytes()
    )
    shares = in_torch(network, pixels)[1]
    found = {tag.label: tag.score for tag in photo.tags if tag.kind == "area_share"}
    assert found == pytest.approx({LABELS[i]: shares[i] for i in np.flatnonzero(shares >= 0.05)}, abs=1e-3)
    film = VideoTags.model_validate_json(
        result_path(tmp_path / "out", result_name(inputs / "film.mp4"), ".tags.json").read_bytes()
    )
    areas = [tag for tag in film.tags if tag.kind == "area_share"]
    assert areas
    assert {tag.model for tag in areas} == {"swiftnet_rn18"}
    assert [model.task for model in film.provenance.models] == ["detect", "classify", "segment", "shots"]

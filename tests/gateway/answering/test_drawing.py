"""Pictures with what was found drawn on them."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence

import httpx
import numpy as np
import numpy.typing as npt
import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from gateway.answering import drawing
from gateway.answering.labels import DISTINCT, Area, colours_of, luminance, place, readable_on, shortened, width_of
from gateway.answering.sheets import Areas, Mark, Note, Sheet
from reeltag.areas import NO_CLASS
from reeltag.settings import Settings
from tests.gateway.fakes import COLOURS, SEGMENTER, FakeTagger, class_map_of, code_of, encoded, gateway

JPEG = {"Content-Type": "image/jpeg", "Accept": "image/jpeg"}
GREY = (90, 120, 60)
"""Of `encoded`."""
Pixels = npt.NDArray[np.int64]


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[FakeTagger, httpx.Client]]:
    tagger = FakeTagger(["detect", "classify", "segment", "detect_classify"])
    with gateway(tagger, Settings(max_image_pixels=20_000_000)) as client:
        yield tagger, client


def drawn(sheet: Sheet, width: int = 800, height: int = 700) -> Pixels:
    answer = drawing.draw(encoded(width, height, "PNG"), sheet)
    assert isinstance(answer, bytes)
    return pixels_of(answer)


def pixels_of(jpeg: bytes) -> Pixels:
    with Image.open(io.BytesIO(jpeg)) as picture:
        assert picture.format == "JPEG"
        return np.asarray(picture.convert("RGB")).astype(np.int64)


def near(pixels: Pixels, colour: Sequence[float], tolerance: int = 40) -> npt.NDArray[np.bool_]:
    return np.asarray(np.abs(pixels - np.array(colour)).max(axis=-1) <= tolerance)


def test_a_box_is_where_it_is_said_to_be() -> None:
    pixels = drawn(Sheet([Mark("car", 0.9, (200, 300, 500, 600))]))
    colour = colours_of(["car"])["car"]
    assert pixels.shape == (700, 800, 3)
    for y, x in ((301, 350), (598, 350), (450, 201), (450, 498)):
        assert near(pixels[y, x], colour), (y, x, pixels[y, x], colour)
    assert near(pixels[450, 350], GREY, 10)
    assert near(pixels[450, 150], GREY, 10)
    label = near(pixels[270:300, 200:260], colour)
    assert label.mean() > 0.4, "above the box, from its left edge on"


def test_boxes_of_turned_pictures_lie_in_the_upright_one() -> None:
    buffer = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees: 700 wide and 800 high
    Image.new("RGB", (800, 700), GREY).save(buffer, "JPEG", exif=exif)
    answer = drawing.draw(buffer.getvalue(), Sheet([Mark("car", 0.9, (100, 700, 600, 790))]))
    assert isinstance(answer, bytes)
    pixels = pixels_of(answer)
    assert pixels.shape == (800, 700, 3)
    assert near(pixels[788, 350], colours_of(["car"])["car"])
    assert "exif" not in Image.open(io.BytesIO(answer)).info, "where a photograph was taken is not passed on"


LABELS = st.text(max_size=40)
SIDES = st.integers(1, 900)
BOXES = st.tuples(*[st.floats(-100, 500)] * 2, *[st.floats(500, 1000)] * 2)
MARKS = st.builds(Mark, LABELS, st.floats(0, 1), BOXES)


@settings(max_examples=12, deadline=None)
@given(st.lists(MARKS, max_size=12), st.lists(LABELS.map(Note), max_size=8), SIDES, SIDES)
def test_anything_can_be_drawn(marks: list[Mark], notes: list[Note], width: int, height: int) -> None:
    pixels = drawn(Sheet(marks, notes), width, height)
    assert pixels.shape[1] >= drawing.size_of(width, height)[0]
    assert pixels.shape[0] >= drawing.size_of(width, height)[1]


AREAS = st.builds(lambda x, y, w, h: Area(x, y, x + w, y + h), *[st.integers(0, 600)] * 2, *[st.integers(0, 300)] * 2)


@given(AREAS, st.integers(1, 200), st.integers(1, 60), st.lists(AREAS, max_size=10))
def test_labels_stay_on_the_page(box: Area, width: int, height: int, taken: list[Area]) -> None:
    page = Area(0, 0, 640, 480)
    area = place(box, width, height, page, taken)
    assert page.overlap(area) == width * height


def test_labels_of_boxes_side_by_side_do_not_cover_each_other() -> None:
    page, taken = Area(0, 0, 1000, 800), list[Area]()
    for left in range(100, 500, 60):
        taken.append(place(Area(left, 300, left + 50, 500), 110, 24, page, taken))
    overlaps = [one.overlap(other) for i, one in enumerate(taken) for other in taken[:i]]
    assert sum(overlaps) / sum(area.overlap(area) for area in taken) < 0.2


@given(st.lists(st.text(), max_size=20, unique=True))
def test_up_to_twenty_labels_have_colours_of_their_own(labels: list[str]) -> None:
    assert len(set(colours_of(labels).values())) == len(labels)


def test_text_stands_out_on_every_colour() -> None:
    for colour in DISTINCT:
        lighter, darker = sorted((luminance(colour), luminance(readable_on(colour))), reverse=True)
        assert (lighter + 0.05) / (darker + 0.05) > 4.5, colour  # WCAG 2, level AA


@given(st.text(max_size=300), st.integers(15, 96), st.integers(60, 700))
def test_long_texts_are_shortened(text: str, size: int, width: int) -> None:
    cut = shortened(text, size, max(width, 2 * size))
    assert width_of(cut, size) <= max(width, 2 * size) or cut == "..."
    assert cut.isprintable()


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((1280, 720), (1280, 720)),
        ((640, 10), (640, 10)),
        ((64, 48), (640, 480)),
        ((1, 1), (640, 640)),
        ((8192, 8192), (4096, 4096)),
        ((60_000, 100), (16_384, 27)),
        ((1, 60_000), (1, 16_384)),
    ],
)
def test_pictures_keep_their_size_unless_they_are_very_small_or_very_large(
    size: tuple[int, int], expected: tuple[int, int]
) -> None:
    assert drawing.size_of(*size) == expected


@pytest.mark.parametrize("image_format", ["PNG", "JPEG"])
def test_a_very_large_picture_is_drawn_within_bounds(image_format: str) -> None:
    pixels = drawn_large(image_format)
    assert pixels.shape[1] == 4096
    assert near(pixels[4094, 2000], colours_of(["sea"])["sea"])


def drawn_large(image_format: str) -> Pixels:
    side = 6000
    answer = drawing.draw(encoded(side, side, image_format), Sheet([Mark("sea", 0.5, (0, 0, side, side))]))
    assert isinstance(answer, bytes)
    return pixels_of(answer)


def test_areas_are_laid_over_the_picture_and_named() -> None:
    width, height = 800, 700
    areas = Areas(class_map_of(width, height), SEGMENTER, COLOURS)
    pixels = drawn(Sheet(notes=[Note("road 50.0%", COLOURS[0])], areas=areas), width, height)
    assert pixels.shape[0] > height, "the notes are below"
    for row, index in ((200, 0), (600, 2)):
        expected = [(colour + ground) / 2 for colour, ground in zip(COLOURS[index], GREY, strict=True)]
        assert near(pixels[row, 400], expected, 6)
    assert near(pixels[height:], COLOURS[0]).sum() > 50, "the colour of the class beside its name"


def test_where_the_network_did_not_look_the_picture_stays() -> None:
    nothing = np.full((SEGMENTER.height, SEGMENTER.width), NO_CLASS, np.uint8)
    pixels = drawn(Sheet(areas=Areas(nothing, SEGMENTER, COLOURS)))
    assert near(pixels, GREY, 4).all()


def test_many_notes_are_cut_short() -> None:
    few, many = (drawn(Sheet(notes=[Note(f"tag {i}") for i in range(count)])) for count in (60, 1000))
    assert many.shape[0] - few.shape[0] < 60


def test_a_picture_that_takes_too_much_memory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawing, "MEMORY_BYTES", 16 << 20)
    answer = drawing.draw(encoded(6000, 6000, "PNG"), Sheet())
    assert isinstance(answer, drawing.Refusal)
    assert answer.code == "too_costly"


def test_who_accepts_a_picture_gets_one(client: httpx.Client, tagger: FakeTagger) -> None:
    query = {"tasks": "detect,classify,segment", "boxes": "normalised", "class_map": "true"}
    answer = client.post("/v1/images", params=query, content=encoded(800, 700), headers=JPEG)
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "image/jpeg")
    pixels = pixels_of(answer.content)
    assert pixels.shape[1] == 800
    assert pixels.shape[0] > 700
    assert True in tagger.class_maps
    assert 'reeltag_images_total{outcome="tagged"} 1.0' in client.get("/metrics").text


def test_one_picture_a_request(client: httpx.Client, tagger: FakeTagger) -> None:
    files = [("file", (f"{i}.jpg", encoded(), "image/jpeg")) for i in range(2)]
    answer = client.post("/v1/images", files=files, headers={"Accept": "image/jpeg"})
    assert (answer.status_code, code_of(answer)) == (406, "not_acceptable")
    assert "the request has 2" in answer.json()["error"]["message"]
    assert not tagger.batches
    one = client.post("/v1/images", files=files[:1], headers={"Accept": "image/jpeg"})
    assert one.headers["Content-Type"] == "image/jpeg"


def test_what_is_not_answered_is_406_before_the_body_is_read(client: httpx.Client, tagger: FakeTagger) -> None:
    answer = client.post("/v1/images", content=encoded(), headers={"Accept": "image/png"})
    assert (answer.status_code, code_of(answer)) == (406, "not_acceptable")
    assert "application/x-ndjson" in answer.json()["error"]["message"]
    assert not tagger.batches


def test_an_image_that_cannot_be_tagged_is_an_error_as_ever(client: httpx.Client) -> None:
    answer = client.post("/v1/images", content=encoded()[:300], headers=JPEG)
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "truncated")


def test_the_processes_that_draw_end_with_the_gateway() -> None:
    others = set(psutil.Process().children())
    with gateway(FakeTagger()) as client:
        assert client.post("/v1/images", content=encoded(), headers=JPEG).status_code == 200
        drawers = set(psutil.Process().children()) - others
        assert drawers
    _, alive = psutil.wait_procs(drawers, timeout=5)
    assert not [p for p in alive if p.status() != psutil.STATUS_ZOMBIE]

"""A camera's NV12 into a network's input where the network runs: against float64, OpenCV's way, and in boxes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from edge.capture.colours import Colours, FromNv12
from edge.capture.frame import Frame
from edge.pipeline.fitting import Fitting
from edge.pipeline.picture import CameraPicture
from edge.pipeline.suppression import Suppression
from edge.runtimes.artefacts import find_detector
from edge.runtimes.memory import Host
from edge.runtimes.nv12 import GRAPH, OUTPUT, Nv12Fitter
from edge.runtimes.onnxruntime_network import OnnxRuntimeNetwork
from edge.runtimes.onnxruntime_session import OrtSession
from tests.edge.test_pictures import ALL_COLOURS, nv12

SIZES = [(768, 1366), (1080, 1920), (480, 640), (1280, 720), (121, 95)]
VIEWS = ["LETTERBOX_416X416_PAD114", "LETTERBOX_TOP_LEFT_640X640_PAD114", "STRETCH_256X320_PAD0"]
LARGEST_LEVELS = 1.0
"""From float64: half a level of rounding, and half precision in between."""
MEAN_LEVELS = 0.5
"""From OpenCV's way on smooth pictures, which has rounded and clipped at the camera's size."""


def picture(height: int, width: int, colours: Colours, seed: int = 3) -> Frame:
    """Smooth, as natural pictures are, and of all colours that there are."""
    random = np.random.default_rng(seed)
    rgb = cv2.resize(
        random.integers(0, 256, (9, 16, 3), np.uint8), (width, height), interpolation=cv2.INTER_LINEAR
    ).astype(np.float64)
    red, blue = {"bt601": (0.299, 0.114), "bt709": (0.2126, 0.0722)}[colours.matrix]
    y = rgb @ [red, 1 - red - blue, blue]
    u, v = (rgb[..., 2] - y) / (2 * (1 - blue)), (rgb[..., 0] - y) / (2 * (1 - red))
    luma, chroma, black = (1.0, 1.0, 0) if colours.is_full_range else (219 / 255, 224 / 255, 16)
    frame = Frame()
    frame.shape_as(height, width, colours)
    frame.data[:] = 77  # what fills rows up is to be ignored
    frame.luma[:] = np.round(y * luma + black)
    for index, plane in enumerate((u, v)):
        frame.chroma[..., index] = np.clip(np.round(plane[::2, ::2] * chroma + 128), 0, 255)
    return frame


def reference(frame: Frame, view: str) -> npt.NDArray[np.float64]:
    """The standards' formulas at the camera's size, not clipped; then each pixel's share of the input's pixels."""
    colours = frame.colours
    assert colours is not None
    red, blue = {"bt601": (0.299, 0.114), "bt709": (0.2126, 0.0722)}[colours.matrix]
    luma = frame.luma.astype(np.float64)
    chroma = frame.chroma.repeat(2, 0).repeat(2, 1)[: frame.height, : frame.width].astype(np.float64) - 128
    if colours.is_full_range:
        y, pb, pr = luma, chroma[..., 0], chroma[..., 1]
    else:
        y, pb, pr = (luma - 16) * 255 / 219, chroma[..., 0] * 255 / 224, chroma[..., 1] * 255 / 224
    r, b = y + 2 * (1 - red) * pr, y + 2 * (1 - blue) * pb
    g = (y - red * r - blue * b) / (1 - red - blue)
    rgb = np.stack([r, g, b], 2)
    rows, columns, inside, pad = placed(view, frame.height, frame.width)
    height, width = inside[0].stop - inside[0].start, inside[1].stop - inside[1].start
    averages = frame.height >= 2 * height and frame.width >= 2 * width
    of_rows, of_columns = shares(frame.height, height, averages), shares(frame.width, width, averages)
    planes = np.ascontiguousarray(rgb.transpose(2, 0, 1))  # products of anything else take minutes
    scaled = (of_rows @ planes @ of_columns.T).transpose(1, 2, 0)
    fitted = np.full((rows, columns, 3), float(pad))
    fitted[inside] = np.clip(scaled, 0, 255)
    return fitted


def placed(view: str, height: int, width: int) -> tuple[int, int, tuple[slice, slice], int]:
    """As the server's own views have it."""
    from reeltag.frames import View, geometry_of

    parsed = View.parse(view)
    assert isinstance(parsed.pad_value, int)
    return parsed.height, parsed.width, geometry_of(parsed, width, height).picture, parsed.pad_value


def shares(source: int, target: int, averages: bool) -> npt.NDArray[np.float64]:
    """Of a line: `reeltag.frames.resampling`, which knows nothing of the edge."""
    from reeltag.frames.resampling import area, linear

    pixels, parts = (area if averages and source > target else linear)(source, target)
    found = np.zeros((target, source))
    for row in range(target):
        np.add.at(found[row], pixels[row], parts[row])
    return found


class Still:
    """A network on a CPU that is given pictures and computes nothing."""

    runtime, nv12 = "none", None

    def __init__(self) -> None:
        self.frames = np.zeros((1, 416, 416, 3), np.uint8)

    def run(self, count: int) -> list[npt.NDArray[Any]]:
        return []

    def close(self) -> None:
        pass


class Fitted:
    """The graph on the CPU, as `OnnxRuntimeNetwork` has it on a GPU."""

    def __init__(self, rows: int, columns: int) -> None:
        import onnxruntime

        self.place, self.ready = Host(), set[int]()
        self.frames = self.place.memory((2, rows, columns, 3), np.uint8)
        session = OrtSession(onnxruntime, GRAPH, self.place, replays=False)
        self.input = Nv12Fitter(self.place, self.frames, self.ready, session.bound)

    def __call__(self, frame: Frame, view: str, index: int = 0) -> npt.NDArray[np.uint8]:
        assert frame.colours is not None
        fit = self.input.fit(Fitting(view, frame.height, frame.width).nv12_weights(frame.colours), index)
        fit(*frame.planes, index)
        found: npt.NDArray[np.uint8] = self.frames.array[index]
        return found


@pytest.mark.parametrize("colours", ALL_COLOURS, ids=str)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_the_graph_makes_what_the_standards_say(size: tuple[int, int], colours: Colours) -> None:
    frame = picture(*size, colours)
    view = VIEWS[(SIZES.index(size) + ALL_COLOURS.index(colours)) % len(VIEWS)]
    expected = reference(frame, view)
    found = Fitted(*expected.shape[:2])(frame, view)
    assert np.abs(found - expected).max() <= LARGEST_LEVELS
    assert 0 < np.abs(found - expected).mean() <= 0.3


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_the_graph_makes_what_opencv_makes(size: tuple[int, int], view: str) -> None:
    frame = picture(*size, Colours("bt709"))
    fitting, rgb = Fitting(view, *size), np.zeros((*size, 3), np.uint8)
    FromNv12(*size, Colours("bt709"))(frame.luma, frame.chroma, rgb)
    rows, columns, *_ = placed(view, *size)
    expected = np.zeros((rows, columns, 3), np.uint8)
    fitting.place(rgb, expected)
    found = Fitted(rows, columns)(frame, view, 1)
    assert np.abs(found.astype(int) - expected).mean() <= MEAN_LEVELS


@pytest.mark.parametrize("colours", ALL_COLOURS, ids=str)
@pytest.mark.parametrize(("size", "view"), [((1080, 1920), VIEWS[1]), ((832, 834), VIEWS[0])], ids=str)
def test_what_opencv_scales_before_it_makes_rgb_is_what_the_standards_say(
    size: tuple[int, int], view: str, colours: Colours
) -> None:
    """Luma and chroma are rounded once more than in RGB, and a level of chroma is up to 2.4 of blue."""
    frame, fitting = picture(*size, colours), Fitting(view, *size)
    expected = reference(frame, view)
    found = np.full(expected.shape, 9, np.uint8)
    assert fitting.averages
    fitting.place_nv12(frame.luma, frame.chroma, colours, found)
    assert np.abs(found - expected).max() <= 3
    assert np.abs(found - expected).mean() <= 0.6


def test_a_frame_for_a_cpu_is_made_rgb_only_where_that_is_cheaper() -> None:
    """Or where its sides are odd, whose last row and column of chroma is of one row and column of luma."""
    network = Still()
    for size, is_made in (((1080, 1920), False), ((1081, 1920), True), ((480, 640), True)):
        looking = CameraPicture(VIEWS[0])
        frame = picture(*size, Colours("bt709"))
        looking.prepare(frame, network, 0)
        assert looking.where == "host"
        assert bool(looking._rgb.size) == is_made
        assert np.abs(network.frames[0] - reference(frame, VIEWS[0])).mean() <= MEAN_LEVELS


def test_openvino_answers_the_same() -> None:
    openvino: Any = pytest.importorskip("openvino")
    frame = picture(1080, 1920, Colours("bt709", True))
    weights = Fitting(VIEWS[0], 1080, 1920).nv12_weights(Colours("bt709", True))
    compiled = openvino.Core().compile_model(str(GRAPH), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    luma, chroma = frame.planes
    answer = compiled({**weights.inputs, "LUMA": luma, "CHROMA": chroma})[OUTPUT]
    assert np.abs(answer.astype(int) - Fitted(416, 416)(frame, VIEWS[0])).max() <= 1


def test_the_file_is_what_its_source_writes() -> None:
    pytest.importorskip("onnx")
    from exporters.graphs.nv12 import FILE, nv12_graph

    assert FILE == GRAPH
    assert GRAPH.read_bytes() == nv12_graph().SerializeToString(deterministic=True), "python -m exporters.graphs.nv12"


@pytest.fixture
def network(model_repository: Path) -> Iterator[OnnxRuntimeNetwork]:
    network = OnnxRuntimeNetwork(find_detector(model_repository), 2, takes_nv12=True)
    yield network
    network.close()


def frames_of(video: Path, count: int, colours: Colours) -> list[Frame]:
    read, found = cv2.VideoCapture(str(video)), []
    for _ in range(count):
        fine, bgr = read.read()
        assert fine
        height, width = bgr.shape[:2]
        planar = cv2.cvtColor(bgr, cv2.COLOR_BGR2YUV_I420).reshape(-1)
        frame = Frame()
        frame.shape_as(height, width, colours)
        frame.luma[:] = planar[: height * width].reshape(height, width)
        frame.chroma[:] = planar[height * width :].reshape(2, height // 2, width // 2).transpose(1, 2, 0)
        found.append(frame)
    return found


def test_boxes_of_a_real_video_are_the_same(network: OnnxRuntimeNetwork, shared: Path, model_repository: Path) -> None:
    """Each box above 0.4 has a partner of its class: IoU at least 0.9, the score within 0.05."""
    artefact = find_detector(model_repository)
    looking = CameraPicture(artefact.view)
    nv12_input = network.nv12
    compared = 0
    for frame in frames_of(shared / "media/vtest.avi", 8, Colours()):
        answers = []
        for network.nv12 in (nv12_input, None):
            looking.prepare(frame, network, 0)
            assert looking.where == ("host" if network.nv12 is None else "network")
            candidates = network.run(1)[0][0]
            answers.append(Suppression("python", 0.3)([candidates]).copy())
        network.nv12 = nv12_input
        for these, others in (answers, answers[::-1]):
            for box in these[these[:, 4] > 0.4]:
                same = others[others[:, 5] == box[5]]
                low, high = np.maximum(same[:, :2], box[:2]), np.minimum(same[:, 2:4], box[2:4])
                common = np.maximum(high - low, 0).prod(1)
                areas = (same[:, 2:4] - same[:, :2]).prod(1) + (box[2:4] - box[:2]).prod() - common
                best = int((common / areas).argmax())
                assert common[best] / areas[best] >= 0.9
                assert abs(same[best, 4] - box[4]) <= 0.05
                compared += 1
    assert compared >= 40


def test_a_batch_has_pictures_of_both_kinds(network: OnnxRuntimeNetwork, model_repository: Path) -> None:
    """A camera in NV12 beside one in RGB: each is where it belongs, and none stays for the next batch."""
    artefact = find_detector(model_repository)
    north, south = CameraPicture(artefact.view), CameraPicture(artefact.view)
    yuv, rgb = nv12(480, 640, Colours()), Frame()
    rgb.shape_as(240, 320, None)
    rgb.data[:] = np.random.default_rng(2).integers(0, 256, len(rgb.data), np.uint8)
    north.prepare(yuv, network, 0)
    south.prepare(rgb, network, 1)
    assert (north.where, south.where) == ("network", "host")
    both = [answer.copy() for answer in network.run(2)]
    south.prepare(rgb, network, 0)
    north.prepare(yuv, network, 1)
    turned = network.run(2)
    np.testing.assert_allclose(both[0][0], turned[0][1], atol=1e-3)
    np.testing.assert_allclose(both[0][1], turned[0][0], atol=1e-3)


def test_rgb_is_made_only_where_somebody_asks(network: OnnxRuntimeNetwork, model_repository: Path) -> None:
    picture_of, frame = CameraPicture(find_detector(model_repository).view), nv12(480, 640, Colours("bt709"))
    picture_of.prepare(frame, network, 0)
    assert picture_of.size == (480, 640)
    assert not picture_of._rgb.size
    expected = np.zeros((480, 640, 3), np.uint8)
    FromNv12(480, 640, Colours("bt709"))(frame.luma, frame.chroma, expected)
    first = picture_of.rgb
    np.testing.assert_array_equal(first, expected)
    frame.luma[:] = 16
    picture_of.prepare(frame, network, 0)
    assert picture_of.rgb is not None
    assert np.shares_memory(picture_of.rgb, first)
    assert picture_of.rgb[0, 0].max() < 255

"""`reeltag watch --config`: traffic by a configuration, its events kept and delivered, its page."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Mapping, Sequence

import cv2
import numpy as np
from reeltag.errors import InputError, OutputError, ReeltagError, SourceRefused

from edge.capture.frame import Frame
from edge.capture.opening import source_of
from edge.configuration import CameraSettings, Configuration, ConfigurationError, Problem, load
from edge.configuration.picture import draw
from edge.events import Publisher
from edge.events.publisher import sinks_of
from edge.options import CameraOptions, WatchOptions, configured
from edge.pipeline.loop import Watched
from edge.pipeline.picture import CameraPicture
from edge.pipeline.stages import ALL
from edge.pipeline.still_detector import StillDetector
from edge.running import Printing, run
from edge.runtimes.artefacts import find_detector
from edge.traffic.plate_reading import PlateReading
from edge.traffic.scene import Scene
from edge.veils import veil
from edge.watching import Watch
from edge.words import Detections, Event, FrameTime, Picture

_SCORE = 0.1
"""Boxes with less are left out: a vehicle that is half hidden has a low score, and its track needs it."""


def watch_traffic(path: Path, options: WatchOptions, usual: CameraOptions, page_port: int | None) -> None:
    """Watch until the cameras end.

    Args:
        path: Of the configuration.
        options: Of the command line, which go before those of the configuration's detector.
        usual: Options of cameras that the configuration does not set.
        page_port: Of the page; the configuration's without one.

    Raises:
        InputError: The configuration or a source is wrong.
        SetupError: Something is missing here.
    """
    configuration, options, class_names = _read(path, options, usual)
    with ExitStack() as stack:
        plates = _plate_reading(configuration, options, stack)
        publisher = Publisher(configuration, salts=plates.salts if plates is not None else None)
        stack.callback(publisher.close)
        told = Printing(is_all=False)

        def publish(events: list[Event]) -> None:
            publisher.publish(events)
            told(events)

        scenes: dict[str, Scene] = {}

        def scene_of(names: Sequence[str], camera: str) -> Scene:
            recording, reader = _recording(options, camera), plates.reader() if plates is not None else None
            scenes[camera] = Scene(configuration, names, camera, recording, publisher.snapshots, reader)
            return scenes[camera]

        shown = _Shown()
        watch = Watch(options, publish, scene_of, shown, publisher.state)
        port = configuration.page.get("port") if page_port is None else page_port
        if port is not None:
            from edge.page import Page  # noqa: PLC0415 - a device without a screen needs none

            def changed(camera: CameraSettings) -> None:
                watch.change(lambda: scenes[camera.name].configure(camera))

            page = Page(port, configuration, class_names, lambda: _figures(watch, scenes), changed, publisher.state)
            stack.callback(page.close)
            shown.page = page
            print(f"http://127.0.0.1:{page.port} shows it", file=sys.stderr)
        run(watch)


class _Shown:
    """Hands frames to the page, once there is one."""

    page: Any = None

    def __call__(self, watched: Watched, time: FrameTime, detections: Detections) -> None:
        if self.page is not None:
            self.page.show(watched.camera.name, watched.picture, watched.scene)


def check(path: Path, options: WatchOptions, usual: CameraOptions, page_port: int | None = None) -> None:
    """Say what is wrong in a configuration, and draw its lines and zones on a frame of each camera.

    A camera that is away is said to be, and is no mistake of the configuration.

    Raises:
        InputError: It cannot be used; the text names each mistake.
        SetupError: Something that it asks for is missing here.
    """
    configuration, options, names = _read(path, options, usual)
    sinks_of(configuration)
    refused = []
    with ExitStack() as stack:
        _plate_reading(configuration, options, stack)
        assert options.score_threshold is not None
        find = StillDetector(options.repository, options.model, options.score_threshold, options.runtime)
        stack.callback(find.close)
        for number, (camera, settings) in enumerate(zip(options.cameras, configuration.cameras)):
            picture, problem = _frame(camera)
            if picture is None:
                print(f"{camera.name}: drawn on grey, since {problem}", file=sys.stderr)
                width, height = settings.picture or (1280, 720)
                picture = np.full((height, width, 3), 90, np.uint8)
            else:
                scene = Scene(configuration, names, camera.name)
                veil(picture, scene.veils_of(find(picture)), shows_plates=configuration.shows_plates)
            if isinstance(problem, InputError):
                refused.append(Problem(f"cameras[{number}].source", str(problem)))
            _write(path, picture, settings)
    if refused:
        raise ConfigurationError(str(path), refused)
    print(f"{path} is right")


def _plate_reading(configuration: Configuration, options: WatchOptions, stack: ExitStack) -> PlateReading | None:
    """The networks that read plates; None where no plates are asked for."""
    if configuration.plates is None:
        return None
    plates = PlateReading(configuration, options.repository, options.runtime)
    stack.callback(plates.close)
    return plates


def _read(
    path: Path, options: WatchOptions, usual: CameraOptions
) -> tuple[Configuration, WatchOptions, tuple[str, ...]]:
    detector = load(path).detector
    model = options.model or detector.get("model")
    class_names = find_detector(options.repository, model).class_names
    configuration = load(path, class_names)
    options = options._replace(
        cameras=configured(configuration, usual),
        model=model,
        runtime=options.runtime or detector.get("runtime"),
        score_threshold=detector.get("score", _SCORE) if options.score_threshold is None else options.score_threshold,
    )
    return configuration, options, class_names


def _write(path: Path, picture: Picture, settings: CameraSettings) -> None:
    """Draw lines and zones of a camera on its picture, into a file beside the configuration."""
    draw(picture, settings)
    file = path.with_name(f"{path.stem}.{''.join(c if c.isalnum() else '_' for c in settings.name)}.jpg")
    if not cv2.imwrite(str(file), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)):
        raise OutputError(f"{file} cannot be written")
    print(f"{settings.name}: {len(settings.lines)} lines, {len(settings.zones)} zones, drawn in {file}")


def _frame(camera: CameraOptions) -> tuple[Picture | None, Exception | None]:
    """A frame of a camera, or why it gives none."""
    source, frame = source_of(camera.address, is_paced=False, timeout=camera.timeout), Frame()
    try:
        source.open()
        if source.read(frame) is None:
            return None, SourceRefused(f"{camera.address.name} has no frame")
        picture = CameraPicture("")
        picture.look_at(frame)
        return picture.rgb.copy(), None
    except ReeltagError as error:
        return None, error
    finally:
        source.close()


def _recording(options: WatchOptions, name: str) -> str | None:
    """What makes events of a file the same when it is watched again: its name, size and time."""
    (camera,) = (one for one in options.cameras if one.name == name)
    if camera.address.kind != "file" or not options.is_lossless or not Path(camera.address.location).is_file():
        return None
    said = Path(camera.address.location).stat()
    return f"{Path(camera.address.location).name}-{said.st_size}-{said.st_mtime_ns}"


def _figures(watch: Watch, scenes: Mapping[str, Scene]) -> dict[str, Any]:
    """Of each camera, for the page."""
    figures: dict[str, Any] = {}
    for each in watch.watched:
        slot = each.camera.slot
        late = each.times.quantiles(ALL, 0.5, 0.95, 0.99)
        figures[each.camera.name] = {
            "captured": slot.captured,
            "dropped": slot.dropped,
            "state": each.camera.state,
            "problem": "" if each.camera.problem is None else str(each.camera.problem),
            "latency_ms": {name: 1000 * value for name, value in zip(("p50", "p95", "p99"), late)},
            "counts": scenes[each.camera.name].counts(),
        }
    return figures

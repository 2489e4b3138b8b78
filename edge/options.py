"""What `reeltag watch` is told, by its command line and by a traffic configuration."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple, Sequence

from reeltag.errors import SourceRefused

from edge.capture.addresses import Address, parse
from edge.configuration.problems import ConfigurationError, Problem
from edge.configuration.words import CameraSettings, Configuration


class CameraOptions(NamedTuple):
    """A camera."""

    name: str
    """For people and events; no two are the same."""
    address: Address
    latency_ms: int = 100
    """How long RTSP waits for packets that are late."""
    timeout: float = 10.0
    """Longest wait for a frame, seconds; then the source is opened anew."""
    frozen_seconds: float = 30.0
    """The same picture for so long is a fault."""


class WatchOptions(NamedTuple):
    """All of it but the traffic."""

    cameras: Sequence[CameraOptions]
    repository: Path
    model: str | None = None
    runtime: str | None = None
    score_threshold: float | None = None
    """None where nobody said one."""
    is_lossless: bool = False
    """Every frame of a file or test pattern is looked at, however long that takes."""
    frames: int | None = None
    """A test pattern ends after so many."""
    bound_seconds: float = 0.1
    """Longest run of the network in which cameras are gathered."""
    metrics_port: int | None = None


def named(addresses: Sequence[Address], usual: CameraOptions) -> list[CameraOptions]:
    """Cameras of a command line, each with a name of its own.

    Args:
        addresses: Of the cameras.
        usual: What is the same for all.
    """
    cameras: list[CameraOptions] = []
    taken: set[str] = set()
    for address in addresses:
        name, number = address.name, 2
        while name in taken:
            name, number = f"{address.name}#{number}", number + 1
        taken.add(name)
        cameras.append(usual._replace(name=name, address=address))
    return cameras


def configured(configuration: Configuration, usual: CameraOptions) -> list[CameraOptions]:
    """Cameras of a configuration, whose `options` go before those of the command line.

    Raises:
        ConfigurationError: A source is none.
    """
    folder = configuration.path.parent
    tried = [_tried(camera, folder, usual) for camera in configuration.cameras]
    problems = [Problem(f"cameras[{i}].source", str(one)) for i, one in enumerate(tried) if isinstance(one, Exception)]
    if problems:
        raise ConfigurationError(str(configuration.path), problems)
    return [one for one in tried if not isinstance(one, Exception)]


def _tried(camera: CameraSettings, folder: Path, usual: CameraOptions) -> CameraOptions | SourceRefused:
    try:
        return _configured(camera, folder, usual)
    except SourceRefused as error:
        return error


def _configured(camera: CameraSettings, folder: Path, usual: CameraOptions) -> CameraOptions:
    options = dict(camera.options)
    address = parse(camera.source, transport=options.pop("transport", usual.address.transport))
    if address.kind == "file" and not Path(camera.source).is_absolute():
        address = address._replace(location=str(folder / camera.source))  # as all names in the file
    return usual._replace(name=camera.name, address=address, **options)

"""A configuration from its file."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Sequence

import yaml

from edge.configuration import checks, schema
from edge.configuration.ground import Ground
from edge.configuration.problems import ConfigurationError, Problem
from edge.configuration.words import CameraSettings, Configuration, Line, Zone


class _Loader(yaml.SafeLoader):
    """SafeLoader that takes no key twice."""


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    names = [key.value for key, _ in node.value]
    for number, (key, _) in enumerate(node.value):
        if key.value in names[:number]:
            raise yaml.constructor.ConstructorError(None, None, f"{key.value!r} is there twice", key.start_mark)
    return loader.construct_mapping(node, deep=True)


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def load(path: Path | str, class_names: Sequence[str] | None = None) -> Configuration:
    """Read a configuration.

    Args:
        path: Of the YAML file.
        class_names: Of the detector; None leaves the names of classes unchecked.

    Raises:
        ConfigurationError: It cannot be used; the error names each mistake and what would be right.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8"
        raise ConfigurationError(str(path), [Problem("", f"cannot be read: {reason}")]) from error
    return parse(text, path, class_names)


def parse(text: str, path: Path, class_names: Sequence[str] | None = None) -> Configuration:
    """Likewise, from its text; `path` is for messages, and where relative names begin."""
    try:
        document = yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        raise ConfigurationError(str(path), [_not_yaml(error)]) from error
    problems = schema.problems_of(document) or checks.problems_of(document, class_names)
    if problems:
        raise ConfigurationError(str(path), problems)
    return Configuration(
        path=path,
        cameras=tuple(_camera(camera) for camera in document["cameras"]),
        detector=document.get("detector", {}),
        plates=document.get("plates"),
        events=document.get("events", {}),
        page=document.get("page", {}),
    )


def _not_yaml(error: yaml.YAMLError) -> Problem:
    mark, said = getattr(error, "problem_mark", None), getattr(error, "problem", None) or str(error)
    if mark is None:
        return Problem("", f"is no YAML: {' '.join(str(error).split())}")
    right = "; right are spaces" if "'\\t'" in said else ""
    return Problem(f"line {mark.line + 1}, column {mark.column + 1}", f"is no YAML: {said}{right}")


def _camera(camera: dict[str, Any]) -> CameraSettings:
    ground = camera.get("ground")
    return CameraSettings(
        name=camera["name"],
        source=camera["source"],
        options=camera.get("options", {}),
        picture=_pair(camera["picture"]) if "picture" in camera else None,
        lines=tuple(_line(line) for line in camera.get("lines", [])),
        zones=tuple(_zone(zone) for zone in camera.get("zones", [])),
        ground=Ground([one["picture"] for one in ground], [one["metres"] for one in ground]) if ground else None,
    )


def _line(line: dict[str, Any]) -> Line:
    first, second = map(_pair, line["points"])
    given = {name: line[name] for name in ("forward", "backward") if name in line}
    return Line(line["name"], (first, second), classes=_classes(line), **given)


def _zone(zone: dict[str, Any]) -> Zone:
    way = tuple(map(_pair, zone["way"])) if "way" in zone else None
    given = {name: zone[name] for name in ("stopped_seconds", "queue_kmh") if name in zone}
    return Zone(zone["name"], tuple(map(_pair, zone["points"])), _classes(zone), way, **given)


def _classes(item: dict[str, Any]) -> tuple[str, ...] | None:
    return tuple(item["classes"]) if "classes" in item else None


def _pair(values: Sequence[Any]) -> Any:
    return values[0], values[1]

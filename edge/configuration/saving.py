"""Lines and zones that were drawn by mouse, into the YAML: its comments and all else stay where possible."""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
from pathlib import Path
from typing import Any, Sequence

import yaml

from edge.configuration.loading import parse
from edge.configuration.problems import ConfigurationError, Problem
from edge.configuration.words import Configuration

Shapes = Sequence[Any]
"""Mappings as they stand in the YAML below `lines` or `zones`."""


def version(path: Path) -> str:
    """Of a file's content; another one means that somebody has changed it."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def save(
    path: Path, camera: str, lines: Shapes, zones: Shapes, based_on: str, class_names: Sequence[str] | None = None
) -> Configuration:
    """Replace the lines and zones of a camera, on the disk at once or not at all.

    What keeps its name keeps its place and its comments. Where a camera is written in braces the file is written anew,
    without comments.

    Args:
        path: Of the YAML.
        camera: Its name.
        lines: All of them.
        zones: All of them.
        based_on: `version` of the file that they were drawn on.
        class_names: As for `load`.

    Raises:
        ConfigurationError: What was drawn cannot be used, or the file has changed; nothing is written.
        OSError: The file cannot be written; it is as it was.
    """
    if version(path) != based_on:
        raise ConfigurationError(str(path), [Problem("", "the file has changed meanwhile; right is to load it anew")])
    text = path.read_text(encoding="utf-8")
    wanted = yaml.safe_load(text)
    number = next(i for i, one in enumerate(wanted["cameras"]) if one["name"] == camera)
    wanted["cameras"][number].update(lines=list(lines), zones=list(zones))
    for kind in ("lines", "zones"):
        if not wanted["cameras"][number][kind]:
            del wanted["cameras"][number][kind]
    # By way of JSON: what came over the wire may not use YAML's own types.
    anew = yaml.safe_dump(json.loads(json.dumps(wanted)), sort_keys=False, allow_unicode=True, default_flow_style=None)
    read = parse(anew, path, class_names)
    edited = _edited(text, number, {"lines": lines, "zones": zones})
    _write(path, edited if edited is not None and _loaded(edited) == wanted else anew)
    return read


def _loaded(text: str) -> Any:
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError:
        return None
    for camera in document["cameras"]:
        for kind in ("lines", "zones"):
            if not camera.get(kind, True):
                del camera[kind]
    return document


def _write(path: Path, text: str) -> None:
    path = path.resolve()  # a link stays a link
    with tempfile.NamedTemporaryFile("w", dir=str(path.parent), encoding="utf-8", delete=False) as file:
        try:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
            Path(file.name).chmod(path.stat().st_mode & 0o7777)
            Path(file.name).replace(path)
        except BaseException:
            Path(file.name).unlink()
            raise


def _edited(text: str, number: int, shapes: dict[str, Shapes]) -> str | None:
    """The text with other shapes of a camera; None where it is written in a way that is not edited here."""
    for kind, items in shapes.items():
        root = yaml.compose(text, yaml.SafeLoader)
        cameras = _member(root, "cameras")
        if cameras is None or cameras.flow_style or cameras.value[number].flow_style:
            return None
        text = _with_items(text, cameras.value[number], kind, items)
    return text


def _with_items(text: str, camera: yaml.MappingNode, kind: str, items: Shapes) -> str:
    indent = " " * camera.start_mark.column
    node = _member(camera, kind)
    if node is None or node.flow_style or not node.value:
        body = "".join(f"{indent}  - {_flow(item)}\n" for item in items)
        body = f"{indent}{kind}:\n{body}" if items else ""
        if node is None:
            at = _line_end(text, _leaf(camera).end_mark.index)
            return text[:at] + ("" if text[:at].endswith("\n") else "\n") + body + text[at:]
        key = next(key for key, _ in camera.value if key.value == kind)
        start = text.rfind("\n", 0, key.start_mark.index) + 1
        first = text[start : key.start_mark.index]
        return text[:start] + body.replace(indent, first, 1) + text[_line_end(text, node.end_mark.index) :]
    starts = [text.rfind("\n", 0, one.start_mark.index) + 1 for one in node.value]
    ends = [*starts[1:], _line_end(text, _leaf(node).end_mark.index)]
    known = {_plain(one)["name"]: (one, start, end) for one, start, end in zip(node.value, starts, ends)}
    dash = " " * (re.match(r" *", text[starts[0] :]) or [""])[0].count(" ")
    parts = [
        _changed(text, *known[item["name"]], item) if item["name"] in known else f"{dash}- {_flow(item)}\n"
        for item in items
    ]
    if not parts:
        key = next(key for key, _ in camera.value if key.value == kind)
        return text[: key.start_mark.index] + f"{kind}: []\n" + text[ends[-1] :]
    return text[: starts[0]] + "".join(parts) + text[ends[-1] :]


def _changed(text: str, node: yaml.MappingNode, start: int, end: int, item: dict[str, Any]) -> str:
    """The text of an item, in which values that are other ones now are replaced."""
    before = _plain(node)
    if before == item:
        return text[start:end]
    if before.keys() != item.keys():
        return " " * (node.start_mark.column - 2) + f"- {_flow(item)}\n"
    for key, value in reversed(node.value):
        if before[key.value] != item[key.value]:
            new = json.dumps(item[key.value], ensure_ascii=False)
            text_end = value.end_mark.index if value.flow_style is not False else _leaf(value).end_mark.index
            first = value.start_mark.index
            text, end = text[:first] + new + text[text_end:], end + len(new) - (text_end - first)
    return text[start:end]


def _plain(node: yaml.Node) -> Any:
    return yaml.SafeLoader("").construct_document(node) if node is not None else None


def _flow(item: Any) -> str:
    return json.dumps(item, ensure_ascii=False)


def _member(node: Any, name: str) -> Any:
    return next((value for key, value in node.value if key.value == name), None)


def _leaf(node: Any) -> Any:
    """The last node of a block: the marks of blocks lie behind the comments that follow them."""
    while isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        node = last[1] if isinstance(last, tuple) else last
    return node


def _line_end(text: str, at: int) -> int:
    found = text.find("\n", at)
    return len(text) if found < 0 else found + 1

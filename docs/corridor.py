"""Draws `docs/images/corridor.svg`: the rooms of `exporters` in the order of their contract, and who imports whom.

Run `python -m docs.corridor` after a room was added or moved; a test says when the picture is out of date.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from html import escape
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import grimp

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT: Final = Path(__file__).parents[1]
PICTURE: Final = ROOT / "docs" / "images" / "corridor.svg"
_CONTRACT: Final = "the exporters' corridor: a room imports only rooms below it"
_WIDTH, _ROW, _BOX, _LEFT = 960, 44, 108, 210
_COLOURS: Final = ("#1b6ca8", "#b5541c", "#3a7d44", "#7a4b94", "#a8323e", "#4f6d7a", "#8a6d1b")
_AGAINST: Final = "#ff0000"

Row = tuple[str, ...]
"""Rooms or files that stand side by side: none of them imports another."""


def rows() -> list[Row]:
    """The contract's layers, the lowest first."""
    tool = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]
    (layers,) = (one["layers"] for one in tool["contracts"] if one["name"] == _CONTRACT)
    return [tuple(part.strip() for part in layer.split("|")) for layer in reversed(layers)]


def arrows(order: Sequence[Row]) -> list[tuple[int, int]]:
    """Pairs of rows: the first imports the second."""
    graph = grimp.build_graph("exporters")
    return [
        (importer, imported)
        for importer in range(len(order))
        for imported in range(len(order))
        if importer != imported and any(_imports(graph, a, b) for a in order[importer] for b in order[imported])
    ]


def _imports(graph: Any, importer: str, imported: str) -> bool:
    found: bool = graph.direct_import_exists(
        importer=f"exporters.{importer}", imported=f"exporters.{imported}", as_packages=True
    )
    return found


def drawn() -> str:
    """The picture as SVG."""
    order = rows()
    height = _ROW * len(order) + 16
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}" '
        'font-family="sans-serif">',
        '<rect width="100%" height="100%" fill="#ffffff"/>',
        *(_marker(colour) for colour in (*_COLOURS, _AGAINST)),
        *(_arc(importer, imported) for importer, imported in arrows(order)),
        *(_row(number, row) for number, row in enumerate(order)),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _marker(colour: str) -> str:
    path = f'<path d="M0,0 L7,3.5 L0,7 z" fill="{colour}"/>'
    size = 'markerWidth="7" markerHeight="7" refX="6" refY="3.5" orient="auto"'
    return f'<defs><marker id="{_marker_name(colour)}" {size}>{path}</marker></defs>'


def _marker_name(colour: str) -> str:
    return f"to{colour.removeprefix('#')}"


def _arc(importer: int, imported: int) -> str:
    """From the importing row's left side to the imported one's; the further apart, the wider."""
    is_against = imported > importer
    colour = _AGAINST if is_against else _COLOURS[importer % len(_COLOURS)]
    start, end = _middle(importer) - 4, _middle(imported) + 4
    bend = _LEFT - 30 - 18 * abs(importer - imported)
    curve = f"M{_LEFT},{start} C{bend},{start} {bend},{end} {_LEFT - 2},{end}"
    line = f'fill="none" stroke="{colour}" stroke-width="1.2"'
    return f'<path d="{curve}" {line} marker-end="url(#{_marker_name(colour)})"/>'


def _middle(number: int) -> int:
    return 8 + _ROW * number + _ROW // 2


def _row(number: int, row: Row) -> str:
    is_room = len(row) == 1 and (ROOT / "exporters" / row[0]).is_dir()
    name = row[0] if is_room else ""
    files, said = (_files(row[0]), _docstring(row[0])) if is_room else (", ".join(row), "")
    x, y = _LEFT + 4, _middle(number)
    box = f'<rect x="{x}" y="{y - 15}" width="{_BOX}" height="30" rx="5" fill="#f2f2ee" stroke="#888888"/>'
    title = f'<text x="{x + _BOX // 2}" y="{y + 5}" font-size="14" text-anchor="middle">{name}</text>'
    if not is_room:
        return f'<text x="{x}" y="{y + 5}" font-size="14">{escape(files)}</text>'
    text_x = x + _BOX + 12
    sentence = f'<text x="{text_x}" y="{y - 2}" font-size="12">{escape(said)}</text>'
    names = f'<text x="{text_x}" y="{y + 13}" font-size="11" fill="#666666">{escape(files)}</text>'
    return "\n".join((box, title, sentence, names))


def _files(room: str) -> str:
    folder = ROOT / "exporters" / room
    modules = [file.stem for file in folder.glob("*.py") if file.stem != "__init__"]
    folders = [f"{inner.parent.name}/" for inner in folder.glob("*/__init__.py")]
    return " · ".join(sorted(modules) + folders)


def _docstring(room: str) -> str:
    return (import_module(f"exporters.{room}").__doc__ or "").splitlines()[0]


if __name__ == "__main__":
    PICTURE.write_text(drawn(), "utf-8")

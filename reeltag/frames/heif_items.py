"""What a HEIF file (ISO/IEC 23008-12) says of its primary picture, read from its `meta` box within bounds."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Final

from .header import ImageError, damaged
from .isobmff import MAX_BOXES, IsoBox, boxes, found

_DERIVED: Final = (b"grid", b"iden", b"iovl")
"""Pictures that are made of others."""
_TURNED: Final = ((1, 4, 2), (8, 5, 7), (3, 2, 4), (6, 7, 5))
"""EXIF orientation by quarter turns against the clock, and then by mirroring: none, top with bottom, left with
right."""


@dataclass
class Primary:
    """The picture that a viewer shows."""

    kind: bytes
    """Item type of what is coded, such as `hvc1`."""
    width: int = 0
    """Columns before cropping and turning, pixels."""
    height: int = 0
    crop: tuple[int, int, int, int] | None = None
    """Left, top, width and height, pixels."""
    turns: int = 0
    """Quarters against the clock, after cropping."""
    mirror: int = 0
    """After turning: 0 none, 1 top with bottom, 2 left with right."""

    @property
    def size(self) -> tuple[int, int]:
        """Columns and rows after cropping, before turning."""
        return (self.crop[2], self.crop[3]) if self.crop else (self.width, self.height)

    @property
    def orientation(self) -> int:
        """EXIF orientation of the turns and the mirroring."""
        return _TURNED[self.turns][self.mirror]


@dataclass
class _Meta:
    data: bytes
    types: dict[int, bytes] = field(default_factory=dict)
    """By item."""
    parts: dict[int, int] = field(default_factory=dict)
    """By derived item, the first that it is made of."""
    properties: list[IsoBox] = field(default_factory=list)


def primary_of(data: bytes) -> Primary:
    """Read the primary picture.

    Raises:
        ImageError: `not_an_image`, `truncated` or `too_costly`.
    """
    try:
        return _primary(data)
    except (struct.error, IndexError) as error:
        raise damaged("the HEIF's header is damaged or cut off") from error


def _primary(data: bytes) -> Primary:
    outer = found(data, 0, 1 << 62, b"meta").get(b"meta")
    if outer is None:
        raise ImageError("not_an_image", "the HEIF holds no still picture; save it as a video or as a JPEG")
    if outer.end > len(data):
        raise damaged("the HEIF's header is cut off")
    inner = found(data, outer.start + 4, outer.end, b"pitm", b"iinf", b"iprp", b"iref")
    if b"pitm" not in inner or b"iinf" not in inner or b"iprp" not in inner:
        raise damaged("the HEIF's header is damaged (it names no picture)")
    pitm = inner[b"pitm"].start
    meta, (item, _) = _Meta(data), _number(data, pitm + 4, wide=data[pitm] > 0)
    _read_types(meta, inner[b"iinf"])
    if b"iref" in inner:
        _read_parts(meta, inner[b"iref"])
    iprp = found(data, inner[b"iprp"].start, inner[b"iprp"].end, b"ipco", b"ipma")
    if b"ipco" not in iprp or b"ipma" not in iprp:
        raise damaged("the HEIF's header is damaged (its picture has no size)")
    meta.properties = list(boxes(data, iprp[b"ipco"].start, iprp[b"ipco"].end))
    kind = meta.types.get(item, b"")
    part = meta.parts.get(item)
    primary = Primary(meta.types.get(part, b"") if kind in _DERIVED and part is not None else kind)
    for prop in _properties_of(meta, iprp[b"ipma"], item):
        _apply(data, prop, primary)
    if min(primary.width, primary.height, *primary.size) < 1:
        raise damaged("the HEIF's header is damaged (its picture has no size)")
    return primary


def _number(data: bytes, at: int, *, wide: bool) -> tuple[int, int]:
    """An item's number, of two bytes or four, and where it ends."""
    (number,) = struct.unpack_from(">I" if wide else ">H", data, at)
    return number, at + (4 if wide else 2)


def _read_types(meta: _Meta, box: IsoBox) -> None:
    _, start = _number(meta.data, box.start + 4, wide=meta.data[box.start] > 0)
    for entry in boxes(meta.data, start, box.end):
        version = meta.data[entry.start]
        if entry.kind == b"infe" and version >= 2:
            item, after = _number(meta.data, entry.start + 4, wide=version > 2)
            meta.types[item] = meta.data[after + 2 : after + 6]


def _read_parts(meta: _Meta, box: IsoBox) -> None:
    wide = meta.data[box.start] > 0
    for reference in boxes(meta.data, box.start + 4, box.end):
        if reference.kind == b"dimg":
            item, after = _number(meta.data, reference.start, wide=wide)
            meta.parts[item], _ = _number(meta.data, after + 2, wide=wide)


def _properties_of(meta: _Meta, box: IsoBox, item: int) -> list[IsoBox]:
    """The properties of an item, in the order in which they are applied."""
    data, version = meta.data, meta.data[box.start]
    is_wide = bool(data[box.start + 3] & 1)
    (count,) = struct.unpack_from(">I", data, box.start + 4)
    if count > MAX_BOXES:
        raise ImageError("too_costly", f"the HEIF has more than {MAX_BOXES:,} pictures; save it as a JPEG")
    position = box.start + 8
    for _ in range(count):
        number, position = _number(data, position, wide=version > 0)
        associations = data[position]
        size = associations * (2 if is_wide else 1)
        if number == item:
            entries = data[position + 1 : position + 1 + size]
            found_at = struct.unpack(f">{associations}{'H' if is_wide else 'B'}", entries)
            indices = [entry & (0x7FFF if is_wide else 0x7F) for entry in found_at]
            return [meta.properties[i - 1] for i in indices if 1 <= i <= len(meta.properties)]
        position += 1 + size
    return []


def _apply(data: bytes, prop: IsoBox, primary: Primary) -> None:
    if prop.kind == b"ispe":
        primary.width, primary.height = struct.unpack_from(">II", data, prop.start + 4)
    elif prop.kind == b"clap":
        primary.crop = _crop(struct.unpack_from(">IIIIiIiI", data, prop.start), primary.width, primary.height)
    elif prop.kind == b"irot":
        primary.turns = data[prop.start] & 3
    elif prop.kind == b"imir":
        primary.mirror = 1 + (data[prop.start] & 1)


def _crop(clap: tuple[int, ...], width: int, height: int) -> tuple[int, int, int, int] | None:
    """Left, top, width and height of a clean aperture; none where it is the whole picture or makes no sense."""
    across, _, down, _, right, _, lower, _ = clap
    if not all(clap[1::2]):
        return None
    wide, high = across // clap[1], down // clap[3]
    left = round((width - 1) / 2 + right / clap[5] - (wide - 1) / 2)
    top = round((height - 1) / 2 + lower / clap[7] - (high - 1) / 2)
    is_inside = left >= 0 and top >= 0 and left + wide <= width and top + high <= height
    return (left, top, wide, high) if is_inside and (wide, high) != (width, height) else None

"""`multipart/form-data` bodies to files, as the bytes come in: each byte of a file is kept once."""

from __future__ import annotations

import io
from typing import Final, NamedTuple

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from reeltag.errors import BodyTooLarge, InputError, InvalidOption, UnsupportedMediaType
from reeltag.fetching.url_hosts import MAX_URL_CHARACTERS

MULTIPART: Final = "multipart/form-data"
PART_NAME: Final = "file"
URL_NAME: Final = "url"
RAW_TYPES: Final = (
    *("image/jpeg", "image/jpg", "image/png", "image/webp", "image/bmp", "image/gif", "image/tiff", "image/heic"),
    *("image/heif", "image/avif", "image/jp2", "application/octet-stream"),
)
"""Content types of a body, or of a part, that is one image; what it is indeed is read from its bytes."""
_CHARSETS: Final = ("utf-8", "us-ascii", "iso-8859-1")
"""Of the names in a form; ASCII is UTF-8, and what is not UTF-8 is read as ISO 8859-1."""
_MAX_BOUNDARY: Final = 70
"""Characters, by RFC 2046."""


class Part(NamedTuple):
    """One image of a form."""

    name: str
    """Its file name; empty for a URL."""
    content: io.BytesIO
    is_url: bool = False
    """Whether the content is the URL of the image."""


class FormReader:
    """Takes a form in pieces of any size.

    Args:
        content_type: The request's header.
        max_images: Most files.

    Raises:
        UnsupportedMediaType: The header names a charset that is not one of `_CHARSETS`.
        InputError: It names no boundary.
    """

    def __init__(self, content_type: str, max_images: int) -> None:
        _, options = parse_options_header(content_type)
        charset = options.get(b"charset", b"utf-8").decode("latin-1")
        if charset.lower() not in _CHARSETS:
            raise UnsupportedMediaType(
                f"charset {charset!r} is not taken for a form; use one of {', '.join(_CHARSETS)}"
            )
        boundary = options.get(b"boundary", b"")
        if not 0 < len(boundary) <= _MAX_BOUNDARY:
            raise InputError(
                f"the Content-Type needs a boundary of 1 to {_MAX_BOUNDARY} characters, as in "
                f"`{MULTIPART}; boundary=something`"
            )
        self._max_images = max_images
        self._files: list[Part] = []
        self._header = (bytearray(), bytearray())
        self._disposition, self._part_type = b"", ""
        """Of the part that is being read."""
        self._ended = False
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._on_part_begin,
                "on_header_field": self._on_header_field,
                "on_header_value": self._on_header_value,
                "on_header_end": self._on_header_end,
                "on_headers_finished": self._on_headers_finished,
                "on_part_data": self._on_part_data,
                "on_end": self._on_end,
            },
        )

    def write(self, data: bytes) -> None:
        """Take the next piece.

        Raises:
            InputError: The form is damaged.
            InvalidOption: A part is neither a file named `PART_NAME` nor a text named `URL_NAME`, or that is too long.
            BodyTooLarge: More than `max_images` of them.
        """
        try:
            self._parser.write(data)
        except FormParserError as error:
            raise InputError(f"the multipart body cannot be read: {error}") from error

    def finish(self) -> list[Part]:
        """The images, in order; call it once, after the last piece.

        Raises:
            InputError: The form was cut off.
            InvalidOption: It has no parts, or a URL of nothing.
        """
        if not self._ended:
            raise InputError("the multipart body cannot be read: it was cut off before its closing boundary")
        if not self._files:
            raise InvalidOption(f"the form has no parts; send each image as a part named {PART_NAME!r}")
        if any(part.is_url and not part.content.tell() for part in self._files):
            raise InvalidOption(f"a form part {URL_NAME!r} is empty; leave it out, or give the address of an image")
        return self._files

    def clear(self) -> None:
        """Let go of what was read."""
        self._files.clear()

    def _on_part_begin(self) -> None:
        self._disposition, self._part_type = b"", ""

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header[0].extend(data[start:end])

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header[1].extend(data[start:end])

    def _on_header_end(self) -> None:
        name, value = self._header
        if name.lower() == b"content-disposition":
            self._disposition = bytes(value)
        elif name.lower() == b"content-type":
            self._part_type = bytes(value).partition(b";")[0].strip().lower().decode("latin-1")
        self._header = (bytearray(), bytearray())

    def _on_headers_finished(self) -> None:
        _, options = parse_options_header(self._disposition)
        if b"name" not in options:
            raise InputError(
                "the multipart body cannot be read: the Content-Disposition of a part must give its name, as in "
                f'`form-data; name="{PART_NAME}"; filename="street.jpg"`'
            )
        name = _decoded(options[b"name"])
        if name not in (PART_NAME, URL_NAME):
            raise InvalidOption(f"the form part {name!r} is not known; send each image as a part named {PART_NAME!r}")
        if name == PART_NAME and b"filename" not in options and self._part_type not in RAW_TYPES:
            raise InvalidOption(
                f"the form part {name!r} is text; send a file, with a filename in its Content-Disposition"
            )
        if len(self._files) == self._max_images:
            raise BodyTooLarge(f"the form has more than {self._max_images} images; send them in several requests")
        if name == URL_NAME:
            self._files.append(Part("", io.BytesIO(), is_url=True))
        else:
            self._files.append(Part(_decoded(options.get(b"filename", b"")) or "image", io.BytesIO()))

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        if not self._files:
            return
        part = self._files[-1]
        if part.is_url and part.content.tell() + end - start > MAX_URL_CHARACTERS:
            raise InvalidOption(f"a URL of the form is longer than {MAX_URL_CHARACTERS:,} characters")
        part.content.write(memoryview(data)[start:end])

    def _on_end(self) -> None:
        self._ended = True


def _decoded(name: bytes) -> str:
    try:
        return name.decode()
    except UnicodeDecodeError:
        return name.decode("latin-1")

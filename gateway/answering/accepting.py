"""Which of the forms of an answer a client wants: RFC 9110, 12.5.1."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from reeltag.errors import NotAcceptable

JSON: Final = "application/json"
JSON_LINES: Final = "application/x-ndjson"
"""Of who wants each image's result as soon as it is there."""
PICTURE: Final = "image/jpeg"
"""Of who wants the image with what was found drawn on it."""
OFFERS: Final = (JSON, JSON_LINES, PICTURE)
"""By falling preference, where a client has none."""


def wanted_form(accept: str, offers: Sequence[str] = OFFERS) -> str:
    """The offer that a client likes best; of those that it likes as much, the one that it names first.

    Args:
        accept: Its header; empty without one.
        offers: Media types.

    Raises:
        NotAcceptable: It takes none of them.
    """
    if accept in ("", "*/*", offers[0]):
        return offers[0]
    ranges = [_range(part) for part in accept.split(",") if part.strip()]
    liked = {offer: _liking(offer, ranges) for offer in offers}
    best = max(offers, key=lambda offer: liked[offer])  # of equals the first
    if not liked[best][0]:
        raise NotAcceptable(f"nothing of {accept[:200]!r} is answered here; accept {', '.join(offers)}")
    return best


def _liking(offer: str, ranges: Sequence[tuple[str, float]]) -> tuple[float, int]:
    """Quality of an offer, and how early it is named: by the range that says most of it, not the one that likes it."""
    fits = [(_fit(media, offer), -place, quality) for place, (media, quality) in enumerate(ranges)]
    fit, place, quality = max(fits, default=(0, 0, 0.0))
    return (quality, place) if fit else (0.0, 0)


def _range(part: str) -> tuple[str, float]:
    """A media range and its quality; one that cannot be read counts in full."""
    media, *parameters = part.split(";")
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "q":
            try:
                return media.strip().lower(), min(1.0, max(0.0, float(value)))
            except ValueError:
                break
    return media.strip().lower(), 1.0


def _fit(media: str, offer: str) -> int:
    """How much a media range says of an offer: 3 its name, 2 its kind, 1 anything, 0 nothing."""
    if media == offer:
        return 3
    if media == f"{offer.partition('/')[0]}/*":
        return 2
    return int(media == "*/*")

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.answering.accepting import JSON, JSON_LINES, OFFERS, PICTURE, wanted_form
from reeltag.errors import NotAcceptable


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        ("", JSON),
        ("*/*", JSON),
        ("application/*", JSON),
        ("Application/JSON; charset=utf-8", JSON),
        ("application/x-ndjson", JSON_LINES),
        ("application/x-ndjson, application/json;q=0.5", JSON_LINES),
        ("application/x-ndjson;q=0.5, application/json", JSON),
        ("application/json, application/x-ndjson", JSON),
        ("application/x-ndjson, application/json", JSON_LINES),
        ("image/*", PICTURE),
        ("image/jpeg, */*;q=0.1", PICTURE),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", JSON),
        ("application/json;q=0, */*", JSON_LINES),
        ("application/json;q=0, application/x-ndjson;q=0, */*;q=0.1", PICTURE),
        ("*/*;q=0.1, application/json;q=2", JSON),
    ],
)
def test_the_form_that_is_liked_best(accept: str, form: str) -> None:
    assert wanted_form(accept) == form


@pytest.mark.parametrize(
    "accept", ["text/html", "image/png", "*/*;q=0", "application/json;q=0", ";", "application/json;q=nan"]
)
def test_what_cannot_be_met_names_what_can(accept: str) -> None:
    with pytest.raises(NotAcceptable, match="accept application/json, application/x-ndjson, image/jpeg"):
        wanted_form(accept)


RANGES = st.sampled_from([*OFFERS, "*/*", "image/*", "text/html"])
QUALITIES = st.sampled_from([0, 0.1, 0.5, 0.9, 1])


@given(st.dictionaries(RANGES, QUALITIES, min_size=1))
def test_no_form_is_answered_that_another_is_liked_better_than(liked: dict[str, float]) -> None:
    def quality(offer: str) -> float:
        kind = f"{offer.partition('/')[0]}/*"
        return next((liked[media] for media in (offer, kind, "*/*") if media in liked), 0)

    accept = ", ".join(f"{media};q={value}" for media, value in liked.items())
    best = max(quality(offer) for offer in OFFERS)
    if best:
        assert quality(wanted_form(accept)) == best
    else:
        with pytest.raises(NotAcceptable):
            wanted_form(accept)


@given(st.text(max_size=60))
def test_any_text_has_an_answer(accept: str) -> None:
    with contextlib.suppress(NotAcceptable):
        assert wanted_form(accept) in OFFERS

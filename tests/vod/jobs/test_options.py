from __future__ import annotations

import pytest

from reeltag.errors import InvalidOption
from vod.jobs.database import checked_url
from vod.jobs.options import merged_options, options_of


def test_a_video_has_its_own_options_on_top_of_its_job() -> None:
    assert merged_options(options_of({"fps": 1}).canonical(), {"frames": True}) == options_of(
        {"fps": 1, "frames": True}
    )
    with pytest.raises(InvalidOption, match="fps"):
        merged_options("{}", {"fps": -1})


@pytest.mark.parametrize("url", ["mysql://a/b", "nonsense", "sqlite://", "sqlite:///:memory:", "oracle://x"])
def test_a_database_of_another_kind_is_refused_with_what_would_be_right(url: str) -> None:
    with pytest.raises(InvalidOption, match="postgresql://USER:PASSWORD@HOST"):
        checked_url(url)


def test_no_password_is_told() -> None:
    with pytest.raises(InvalidOption) as told:
        checked_url("mysql://root:secret@host/name")
    assert "secret" not in str(told.value)

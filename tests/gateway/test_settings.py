from __future__ import annotations

import pytest

from reeltag.contract import MAX_BATCH_SIZE
from reeltag.errors import InvalidOption
from reeltag.settings import Settings, load_settings


def test_the_environment_is_read_and_given_options_go_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REELTAG_PORT", "9000")
    monkeypatch.setenv("REELTAG_TRITON_URL", "triton:8001")
    assert load_settings(port=None).port == 9000
    assert load_settings(port=9001).port == 9001
    assert load_settings().triton_url == "triton:8001"


def test_settings_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        setattr(Settings(), "port", 1)  # noqa: B010  (mypy knows that it is read-only)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("port", "65536"),
        ("port", "web"),
        ("timeout_seconds", "0"),
        ("timeout_seconds", "inf"),
        ("max_upload_bytes", "12"),
        ("max_image_pixels", str((1 << 26) + 1)),
        ("batch_max_images", str(MAX_BATCH_SIZE + 1)),
        ("batch_max_delay_microseconds", "-1"),
        ("max_inflight_requests", "0"),
        ("score_threshold", "1.01"),
        ("top_k", "0"),
        ("log_level", "loud"),
        ("host", ""),
    ],
)
def test_a_bad_value_is_named_with_its_variable(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"REELTAG_{name.upper()}", value)
    with pytest.raises(InvalidOption, match=f"REELTAG_{name.upper()}={value}: input should be|string should") as caught:
        load_settings()
    assert "\n" not in str(caught.value)


def test_limits_that_contradict_each_other() -> None:
    with pytest.raises(InvalidOption, match=r"max_waiting_images \(2\) must be at least max_images_per_request \(32\)"):
        load_settings(max_waiting_images=2)
    with pytest.raises(InvalidOption, match="max_buffered_bytes"):
        load_settings(max_buffered_bytes=2000)


def test_every_option_has_a_description() -> None:
    assert all(field.description for field in Settings.model_fields.values())


def test_a_misspelt_option_is_refused() -> None:
    with pytest.raises(InvalidOption, match="prot=1"):
        load_settings(prot=1)

from __future__ import annotations

import pytest

from reeltag.contract import MAX_BATCH_SIZE
from reeltag.errors import InvalidOption
from reeltag.settings import Settings, load_settings, unknown_variables


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
    assert "; " not in str(caught.value), "sizes that follow from it are no mistakes of their own"


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


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("REELTAG_SCORE_TRESHOLD", "REELTAG_SCORE_THRESHOLD"),
        ("REELTAG_KEY_FILE", "REELTAG_KEYS_FILE"),
        ("reeltag_loglevel", "REELTAG_LOG_LEVEL"),
        ("REELTAG_MAX_UPLOAD_BYTE", "REELTAG_MAX_UPLOAD_BYTES"),
    ],
)
def test_a_misspelt_variable_is_refused(monkeypatch: pytest.MonkeyPatch, name: str, meant: str) -> None:
    monkeypatch.setenv(name, "1")
    with pytest.raises(InvalidOption, match=f"{name} is no setting of reeltag, {meant} is"):
        load_settings()


@pytest.mark.parametrize(
    "name", ["REELTAG_SERVICE_HOST", "REELTAG_PORT_8000_TCP", "REELTAG_TRITON_SERVICE_PORT", "REELTAG_IMAGE_TAG"]
)
def test_other_programs_may_have_variables_like_ours(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "1")
    load_settings()
    assert unknown_variables([name, "REELTAG_PORT", "reeltag_port", "PATH"]) == [name]


def test_a_certificate_without_its_key() -> None:
    for one in ("tls_cert", "tls_key"):
        with pytest.raises(InvalidOption, match="tls_cert and tls_key go together"):
            load_settings(**{one: "file.pem"})

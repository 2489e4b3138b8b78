from __future__ import annotations

from pathlib import Path

import pytest

from exporters.export import ExportOptions, export
from exporters.making import Making
from exporters.sources.source import bundled_source
from reeltag.errors import InvalidOption


@pytest.mark.parametrize("calibration", [None, Path("photos")])
def test_a_network_without_pictures_is_not_sent_for_pictures(calibration: Path | None, tmp_path: Path) -> None:
    options = ExportOptions(Making("bf16"), calibration=calibration)
    with pytest.raises(
        InvalidOption, match=r"takes windows of frames, .* in fp32: leave --precision and --calibration out"
    ):
        export(bundled_source("transnetv2"), options, target=tmp_path)

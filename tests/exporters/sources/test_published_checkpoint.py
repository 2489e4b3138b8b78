"""`reeltag export NAME --download`: from the address in the catalogue to a model whose passport names it."""

from __future__ import annotations

import hashlib
import io
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from exporters.catalogue import entries
from exporters.catalogue.entries import CHECKPOINT_MODELS
from exporters.catalogue.published import PublishedFile
from exporters.publishing.passport import read_passport
from exporters.sources.checkpoint_source import published_checkpoint
from reeltag.cli import app
from reeltag.errors import InvalidOption
from tests.e2e.conftest import REELTAG, free_port
from tests.exporters.catalogue.test_downloads import no_proxies
from tests.exporters.catalogue.web import Web, serving

torch: Any = pytest.importorskip("torch")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    no_proxies(monkeypatch)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Iterator[Web]:
    """Where the catalogue now says that YOLOX-Nano is published, with what its trainer keeps beside the weights."""
    torch.manual_seed(1)
    network: Any = entries.network("yolox_nano")
    for prediction in (*network.head.cls_preds, *network.head.obj_preds):
        torch.nn.init.normal_(prediction.weight, std=0.5)
        torch.nn.init.zeros_(prediction.bias)
    file = io.BytesIO()
    torch.save({"start_epoch": 300, "model": network.state_dict(), "optimizer": {"state": {}}}, file)
    with serving(Web(file.getvalue())) as web:
        sha256 = hashlib.sha256(web.content).hexdigest()
        published = PublishedFile(f"{web.address}/yolox_nano.pth", sha256, len(web.content))
        spec = replace(CHECKPOINT_MODELS["yolox_nano"], published=published)
        monkeypatch.setitem(CHECKPOINT_MODELS, "yolox_nano", spec)
        yield web


def exported(*arguments: str | Path) -> str:
    result = CliRunner().invoke(app, ["export", *map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_published_weights_are_fetched_once_and_named_in_the_passport(web: Web, tmp_path: Path) -> None:
    said = exported("yolox_nano", "--download", "--size", "96x160", "--model-repository", tmp_path / "models")
    assert "published yolox_nano" in said
    assert f"{web.address}/yolox_nano.pth is in {tmp_path / 'cache' / 'reeltag'}" in said
    passport = read_passport(tmp_path / "models" / "yolox_nano")
    assert passport.source == f"{web.address}/yolox_nano.pth"
    assert passport.source_sha256 == hashlib.sha256(web.content).hexdigest()
    published_checkpoint("yolox_nano")
    assert len(web.requests) == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["yolox_s"], r"are at https://github\.com/.*/yolox_s\.pth \(72\.1 MB\).* export yolox_s --download"),
        (["yolox_darknet53"], r"/yolox_darknet\.pth; to fetch"),
        (["swiftnet_rn18"], r"authors link to theirs at https://github\.com/orsic/swiftnet.* --checkpoint FILE"),
        (["swiftnet_mobilenetv2"], r"published ones are not known; .* --checkpoint FILE"),
        (["swiftnet_rn18", "--download"], r"see https://github\.com/orsic/swiftnet.* It fetches: yolox_nano"),
        (["nanodet_g", "--download"], "comes with its weights; leave --download out"),
        (["yolox_s", "--download", "--checkpoint", "x.pth"], "--checkpoint FILE and --download are two ways"),
        (["yolox_s", "--download", "--num-classes", "3"], "--num-classes goes with --checkpoint FILE$"),
    ],
)
def test_what_cannot_be_fetched_says_what_can(arguments: list[str], said: str) -> None:
    with pytest.raises(InvalidOption, match=said):
        CliRunner().invoke(app, ["export", *arguments], catch_exceptions=False)


def test_a_proxy_that_is_away_is_one_line_with_the_address(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{free_port()}")
    command = [REELTAG, "export", "yolox_nano", "--download", "--model-repository", str(tmp_path)]
    run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert run.returncode == 1
    assert run.stderr.startswith("error: https://github.com/Megvii-BaseDetection/YOLOX/releases/download/")
    assert run.stderr.count("\n") == 1
    assert run.stderr.endswith("is given by --checkpoint yolox_nano.pth\n")

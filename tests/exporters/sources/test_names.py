"""Networks of the catalogue under names of their owners', side by side in one repository."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from exporters.catalogue import entries
from exporters.publishing import repository
from exporters.publishing.exported import artefacts_in, serving
from exporters.publishing.listing import listing
from reeltag.commands.source_options import SourceOptions
from reeltag.errors import InvalidOption, UnknownModel

torch: Any = pytest.importorskip("torch")
pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from exporters.export import export  # noqa: E402  # needs torch


def nothing(*told: object) -> None:
    """Of progress."""


def options(folder: Path, names: tuple[str, ...], seed: int = 0, **said: Any) -> SourceOptions:
    """A YOLOX-Nano with these classes."""
    torch.manual_seed(seed)
    path = folder / f"{'-'.join(names)}.pth"
    torch.save({"model": entries.network("yolox_nano", len(names)).state_dict()}, path)
    labels = path.with_suffix(".txt")
    labels.write_text("\n".join(names))
    return SourceOptions(checkpoint=path, labels=labels, size="96", **said)


def test_two_of_one_network_are_served_side_by_side(tmp_path: Path) -> None:
    target = tmp_path / "repository"
    for seed, (name, labels) in enumerate({"cars": ("car", "van"), "pets": ("cat", "dog", "fox")}.items()):
        wanted = options(tmp_path, labels, seed, network="yolox_nano")
        assert wanted.fetched(name, nothing) is None
        export(wanted.source(name), target=target)
    found = {artefact.spec.name: artefact for artefact in artefacts_in(target)}
    assert {name: artefact.spec.labels for name, artefact in found.items()} == {
        "cars": ("car", "van"),
        "pets": ("cat", "dog", "fox"),
    }
    assert {artefact.passport.network for artefact in found.values()} == {"yolox_nano"}
    assert found["cars"].spec.head == "yolox"  # so that what it loses is split as of any YOLOX
    assert found["cars"].spec.licence == "Apache-2.0"
    assert serving(target) == ["cars"], "what was exported first"
    assert repository.publish(target, ["pets"])
    assert serving(target) == ["pets"]
    listed = {model.name: model.network for model in listing(target)}
    assert (listed["cars"], listed["yolox_nano"]) == ("yolox_nano", "")
    (cars,) = (artefact for artefact in artefacts_in(target) if artefact.spec.name == "cars")
    cars.file.write_bytes(b"damaged")
    assert "reeltag export cars --network yolox_nano --checkpoint FILE" in cars.damage


def test_a_name_that_is_not_in_the_catalogue_asks_for_the_network(tmp_path: Path) -> None:
    wanted = options(tmp_path, ("car",))
    with pytest.raises(UnknownModel, match=r"no model 'cars' in the catalogue; .*--network yolox_nano fits car\.pth"):
        wanted.fetched("cars", nothing)
    torch.save({"weight": torch.ones(3)}, wanted.checkpoint)
    with pytest.raises(UnknownModel, match="say which of these it is: --network NAME"):
        wanted.fetched("cars", nothing)


@pytest.mark.parametrize(
    ("name", "said", "error", "problem"),
    [
        ("yolox_s", {"network": "yolox_nano"}, InvalidOption, "yolox_s is a network of the catalogue; give yours"),
        ("detect", {"network": "yolox_nano"}, InvalidOption, "detect is a part of what is served already"),
        ("../cars", {"network": "yolox_nano"}, InvalidOption, "cannot name a folder"),
        ("cars", {"network": "yolox"}, UnknownModel, "no model 'yolox' in the catalogue"),
    ],
)
def test_names_and_networks_that_do_not_go_together_are_named(
    tmp_path: Path, name: str, said: dict[str, Any], error: type[Exception], problem: str
) -> None:
    with pytest.raises(error, match=problem):
        options(tmp_path, ("car",), **said).fetched(name, nothing)


def test_a_network_goes_with_no_onnx_file(tmp_path: Path) -> None:
    with pytest.raises(InvalidOption, match="--network is of the catalogue, and --onnx brings another"):
        SourceOptions(onnx=tmp_path / "net.onnx", network="yolox_nano").fetched("cars", nothing)


def test_what_comes_with_reeltag_can_be_exported_under_another_name() -> None:
    source = SourceOptions(network="nanodet_g").source("mine")
    assert (source.spec.name, source.spec.network, source.spec.head) == ("mine", "nanodet_g", "gfl")

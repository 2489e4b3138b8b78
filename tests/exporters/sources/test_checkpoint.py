"""Checkpoints that fit, that do not, and that are dangerous."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from exporters.catalogue import entries
from reeltag.errors import InputError

torch: Any = pytest.importorskip("torch")

from exporters.sources import checkpoint  # noqa: E402  # needs torch


def saved(path: Path, content: Any) -> Path:
    torch.save(content, path)
    return path


def test_a_training_checkpoint_of_ten_classes_loads(tmp_path: Path) -> None:
    """As YOLOX' trainer writes it: with the optimizer, and a NumPy number for the best average precision."""
    trained = entries.network("yolox_nano", 10)
    content = {"start_epoch": 3, "model": trained.state_dict(), "optimizer": {"state": {}}, "best_ap": np.float64(0.3)}
    network = checkpoint.load_network("yolox_nano", saved(tmp_path / "best.pth", content), 10)
    assert not network.training
    for key, tensor in trained.state_dict().items():
        assert torch.equal(network.state_dict()[key], tensor)


def test_wrapped_and_averaged_weights_load(tmp_path: Path) -> None:
    """As DataParallel, `AveragedModel` and trainers with an exponential moving average write them."""
    trained, averaged = entries.network("yolox_nano", 2), entries.network("yolox_nano", 2)
    wrapped = {f"module.{key}": value for key, value in averaged.state_dict().items()}
    contents = (
        {"state_dict": wrapped},
        {"n_averaged": torch.tensor(7), **wrapped},
        {"model": trained.state_dict(), "ema": averaged.state_dict()},
    )
    for content in contents:
        network = checkpoint.load_network("yolox_nano", saved(tmp_path / "wrapped.pth", content), 2)
        for key, tensor in averaged.state_dict().items():
            assert torch.equal(network.state_dict()[key], tensor)


def test_a_bare_state_dict_in_float16_loads(tmp_path: Path) -> None:
    state = {key: value.half() for key, value in entries.network("yolox_nano", 2).state_dict().items()}
    network = checkpoint.load_network("yolox_nano", saved(tmp_path / "half.pth", state), 2)
    assert next(network.parameters()).dtype == torch.float32


def test_another_class_count_names_the_first_keys_and_the_option(tmp_path: Path) -> None:
    path = saved(tmp_path / "ten.pth", {"model": entries.network("yolox_nano", 10).state_dict()})
    with pytest.raises(
        InputError,
        match=r"head\.cls_preds\.0\.weight has shape \(10, 64, 1, 1\) instead of \(80, .*"
        r"It fits yolox_nano with 10 classes: --labels FILE \(10 names, one a line\)",
    ):
        checkpoint.load_network("yolox_nano", path)


def test_another_size_names_the_first_keys_and_the_one_that_fits(tmp_path: Path) -> None:
    path = saved(tmp_path / "tiny.pth", {"model": entries.network("yolox_tiny").state_dict()})
    with pytest.raises(InputError, match=r"stem\.conv\.conv\.weight has shape .*; \.\.\.\. It fits yolox_tiny\."):
        checkpoint.load_network("yolox_s", path)


def test_labels_for_weights_of_the_published_classes_are_named_as_what_to_leave_out(tmp_path: Path) -> None:
    path = saved(tmp_path / "published.pth", {"model": entries.network("yolox_nano").state_dict()})
    with pytest.raises(InputError, match="It fits yolox_nano with its 80 published classes: leave --labels out"):
        checkpoint.load_network("yolox_nano", path, 10)


def test_keys_of_another_network_are_named(tmp_path: Path) -> None:
    path = saved(tmp_path / "other.pth", {"fc.weight": torch.ones(3)})
    with pytest.raises(
        InputError, match=r"backbone\.backbone\.stem\.conv\.conv\.weight is missing; .*It fits no network .*yolox_nano"
    ):
        checkpoint.load_network("yolox_nano", path)


def test_values_that_are_not_finite_are_named(tmp_path: Path) -> None:
    state = entries.network("yolox_nano", 2).state_dict()
    state["backbone.lateral_conv0.bn.bias"][3] = float("nan")
    with pytest.raises(InputError, match=r"backbone\.lateral_conv0\.bn\.bias has values that are not finite"):
        checkpoint.load_network("yolox_nano", saved(tmp_path / "nan.pth", state), 2)


class Dangerous:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def test_a_pickle_that_would_run_code_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "evil.pth", {"model": Dangerous(tmp_path / "harm")})
    with pytest.raises(InputError, match=r"refused: .* would call posix\.mkdir"):
        checkpoint.load_network("yolox_nano", path)
    assert not (tmp_path / "harm").exists()


def test_a_pickled_module_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "whole.pth", torch.nn.Linear(2, 2))
    with pytest.raises(InputError, match=r"would call torch\.nn\.modules\.linear\.Linear.*state_dict\(\)"):
        checkpoint.load_network("yolox_nano", path)


@pytest.mark.parametrize("data", [b"", b"\x89HDF and more", b"\x89PNG\r\n\x1a\n" + bytes(100)])
def test_other_files_are_named(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "file.pth"
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"file\.pth (is empty|cannot be read as a checkpoint)"):
        checkpoint.load_network("yolox_nano", path)
    with pytest.raises(InputError, match="is no file"):
        checkpoint.load_network("yolox_nano", tmp_path)


def test_what_was_mixed_up_is_named(tmp_path: Path) -> None:
    bundled = entries.MODELS["nanodet_g"].onnx_path
    with pytest.raises(InputError, match=r"nanodet_g\.onnx is an ONNX file, not a checkpoint; bring it with --onnx"):
        checkpoint.load_network("yolox_nano", bundled)
    whole = saved(tmp_path / "whole.pth", {"model": entries.network("yolox_nano", 2).state_dict()})
    cut = tmp_path / "cut.pth"
    cut.write_bytes(whole.read_bytes()[:100_000])
    with pytest.raises(InputError, match=r"cut\.pth is an archive that is cut off; copy or download it again"):
        checkpoint.load_network("yolox_nano", cut)
    script = tmp_path / "script.pt"
    with zipfile.ZipFile(script, "w") as archive:  # as torch.jit.save lays it out
        archive.writestr("script/data.pkl", b"")
        archive.writestr("script/code/__torch__.py", b"")
    with pytest.raises(InputError, match=r"script\.pt .* it is a TorchScript archive; .*state_dict\(\)"):
        checkpoint.load_network("yolox_nano", script)


def test_a_file_without_a_state_dict_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no state dict"):
        checkpoint.load_network("yolox_nano", saved(tmp_path / "list.pth", {"model": [1, 2]}))

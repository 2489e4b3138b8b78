"""A network's weights among what training programs save: in nests, behind prefixes, averaged beside the last."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

torch: Any = pytest.importorskip("torch")

from exporters.sources.checkpoint import read_state_dicts  # noqa: E402  # needs torch
from exporters.sources.state_dicts import weights_for  # noqa: E402

KEYS = ("stem.weight", "stem.running_mean", "head.0.weight", "head.0.bias")


def state(value: float, keys: tuple[str, ...] = KEYS) -> dict[str, Any]:
    return {key: torch.full((2,), value) for key in keys}


LAST, AVERAGED = state(1), state(2)


def under(prefix: str, tensors: dict[str, Any]) -> dict[str, Any]:
    return {f"{prefix}{key}": value for key, value in tensors.items()}


def found_in(path: Path, content: Any) -> dict[str, float]:
    """The weights that are taken of a file, by key, as the number that they all are."""
    torch.save(content, path)
    return {key: float(tensor[0]) for key, tensor in weights_for(LAST, read_state_dicts(path)).items()}


@pytest.mark.parametrize(
    "prefix", ["", "module.", "_orig_mod.", "model.", "module._orig_mod.", "_orig_mod.module.", "model._orig_mod.net."]
)
@pytest.mark.parametrize("nest", [(), ("state_dict",), ("model",), ("state", "weights")])
def test_weights_are_found_behind_any_prefix_in_any_nest(tmp_path: Path, prefix: str, nest: tuple[str, ...]) -> None:
    """Of `torch.compile`, of Lightning, of several GPUs, and one in another."""
    content: Any = {**under(prefix, LAST), "criterion.weight": torch.ones(3), "n_averaged": torch.tensor(3)}
    for key in reversed(nest):
        content = {key: content, "epoch": 3, "optimizer_states": [{"state": {0: {"exp_avg": torch.ones(2)}}}]}
    assert found_in(tmp_path / "net.ckpt", content) == dict.fromkeys(KEYS, 1)


@pytest.mark.parametrize(
    "content",
    [
        {"model": LAST, "ema": AVERAGED},
        {"model": LAST, "ema": {"module": AVERAGED, "updates": 7}},
        {"model": LAST, "ema": {"state_dict": under("module.", AVERAGED)}},
        {"model": LAST, "state_dict_ema": AVERAGED},
        {"state_dict": {**under("model.", LAST), **under("ema_model.module.", AVERAGED)}},
        {"state_dict": under("model.", LAST), "callbacks": {"EMA": {"ema_weights": AVERAGED}}},
        {"model": {"model": LAST, "ema": AVERAGED}},
        {"swa_state_dict": under("module.", AVERAGED), "state_dict": LAST},
    ],
    ids=str,
)
def test_averaged_weights_are_taken_wherever_they_lie(tmp_path: Path, content: Any) -> None:
    assert found_in(tmp_path / "net.ckpt", content) == dict.fromkeys(KEYS, 2)


def test_half_of_the_averaged_weights_are_none(tmp_path: Path) -> None:
    """As programs keep them that average what is trained, and no running statistics."""
    half = state(2, tuple(key for key in KEYS if "running" not in key))
    assert found_in(tmp_path / "net.ckpt", {"model": LAST, "ema": half}) == dict.fromkeys(KEYS, 1)


def test_the_part_of_a_larger_network_is_found(tmp_path: Path) -> None:
    whole = {**under("detector.", LAST), **under("tracker.", state(3, ("stem.weight", "tail.weight")))}
    assert found_in(tmp_path / "net.ckpt", {"state_dict": whole}) == dict.fromkeys(KEYS, 1)


def test_what_is_beside_the_weights_is_not_hidden(tmp_path: Path) -> None:
    """So that keys of another network are named."""
    content = {"state_dict": under("model.", {**LAST, "tail.weight": torch.ones(2)})}
    assert "tail.weight" in found_in(tmp_path / "net.ckpt", content)
    assert set(found_in(tmp_path / "net.ckpt", {"fc.weight": torch.ones(2)})) == {"fc.weight"}

"""Fine-tuning brings int8 nearer to float32, the same way every time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from exporters.finetuning.options import FineTuning
from exporters.finetuning.qat import check_trainable, fine_tuned
from reeltag.errors import InputError, InvalidOption

onnx = pytest.importorskip("onnx")
torch = pytest.importorskip("torch")

from exporters.finetuning.distillation import PHASE  # noqa: E402
from exporters.graphs.body import (  # noqa: E402
    WEIGHT_LIMIT,
    body_of,
    simplified,
)
from exporters.graphs.compare import run_onnx  # noqa: E402
from exporters.precision.calibration import CalibrationSet  # noqa: E402
from exporters.precision.convert import convert  # noqa: E402
from exporters.precision.int8 import quantized  # noqa: E402
from tests.exporters.small_networks import detector, frames  # noqa: E402

SHORT = FineTuning(steps=30, learning_rate=0.05)
PICTURES = CalibrationSet(frames(32))


def constants(model: Any) -> dict[str, Any]:
    return {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def test_fine_tuning_comes_nearer_to_float32() -> None:
    told: list[tuple[str, int, int]] = []
    _, plain = convert(detector(), "int8", PICTURES, method="min-max")
    _, report = convert(
        detector(), "int8", PICTURES, method="min-max", fine_tuning=SHORT, progress=lambda *step: told.append(step)
    )
    assert report.method == "min-max + fine-tuning"
    assert 0 < report.loss_after < report.loss_before
    assert (plain.loss_before, plain.loss_after) == (0, 0)
    assert [step for step in told if step[0] == PHASE] == [(PHASE, step, 30) for step in range(1, 31)]


def test_fine_tuning_learns_what_calibration_loses() -> None:
    """Channels a thousand times as large as others, which are not equalised here."""
    model = simplified(detector())
    calibrated = quantized(model, ["stem", "depthwise", "pointwise"], PICTURES.frames, "min-max")
    tuned = fine_tuned(model, calibrated, ["head"], PICTURES.frames, SHORT)
    assert tuned.is_better
    assert tuned.loss_after < 0.9 * tuned.loss_before
    others = np.random.default_rng(9).integers(0, 256, (8, 16, 16, 3), np.uint8)
    exact, before, after = (run_onnx(m, {"FRAMES": others})["head"] for m in (model, calibrated, tuned.model))
    assert np.square(after - exact).mean() < np.square(before - exact).mean(), "on pictures that it never saw"


def test_a_tuned_graph_is_the_calibrated_one_with_other_numbers() -> None:
    calibrated, _ = convert(detector(), "int8", PICTURES, method="min-max")
    tuned, _ = convert(detector(), "int8", PICTURES, method="min-max", fine_tuning=SHORT)
    onnx.checker.check_model(tuned, full_check=True)
    assert list(tuned.graph.node) == list(calibrated.graph.node)
    before, after = constants(calibrated), constants(tuned)
    assert {name: (v.dtype, v.shape) for name, v in before.items()} == {n: (v.dtype, v.shape) for n, v in after.items()}
    weights = [values for name, values in after.items() if name.endswith("_quantized")]
    assert len(weights) == 3
    assert all(np.abs(values.astype(int)).max() <= WEIGHT_LIMIT for values in weights)
    assert all((values > 0).all() for name, values in after.items() if name.endswith("_scale"))
    np.testing.assert_array_equal(before["w3"], after["w3"], "the head stays in float32")


def test_fine_tuning_is_the_same_every_time() -> None:
    first, second = (
        convert(detector(), "int8", PICTURES, method="min-max", fine_tuning=FineTuning(steps=5))[0] for _ in range(2)
    )
    assert first.SerializeToString(deterministic=True) == second.SerializeToString(deterministic=True)


def test_what_fine_tuning_makes_worse_is_not_kept() -> None:
    """A network whose int8 is exact already: weights and inputs lie on the grid."""
    model = simplified(detector())
    heads = body_of(model).heads
    calibrated = quantized(model, ["stem"], PICTURES.frames, "min-max")
    tuned = fine_tuned(calibrated, calibrated, heads, PICTURES.frames, FineTuning(steps=3, learning_rate=1.0))
    assert tuned.model == calibrated
    assert not tuned.is_better
    assert tuned.loss_after == tuned.loss_before == 0


def test_what_progress_raises_ends_the_training() -> None:
    def progress(_phase: str, done: int, _steps: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert(detector(), "int8", PICTURES, method="min-max", fine_tuning=SHORT, progress=progress)
    assert torch.is_grad_enabled()


def test_an_operator_that_cannot_be_trained_is_named() -> None:
    model = detector()
    model.graph.node.insert(4, onnx.helper.make_node("Neg", ["c0"], ["negative"], name="culprit"))
    model.graph.node[5].input[0] = "negative"
    told: list[str] = []
    with pytest.raises(InputError, match=r"node 'culprit' is of the operator Neg, which fine-tuning cannot diff"):
        convert(model, "int8", PICTURES, fine_tuning=SHORT, progress=lambda phase, *_: told.append(phase))
    assert not told, "before anything is calibrated"


def test_a_form_of_an_operator_that_cannot_be_trained_is_named_before() -> None:
    model = detector()
    kinds = {"mode": "reflect"}
    constants = model.graph.initializer
    constants.append(onnx.numpy_helper.from_array(np.array([0, 0, 1, 1, 0, 0, 1, 1]), "pads"))
    model.graph.node.insert(4, onnx.helper.make_node("Pad", ["c0", "pads"], ["padded"], name="culprit", **kinds))
    model.graph.node[5].input[0] = "padded"
    with pytest.raises(InputError, match=r"cannot take node 'culprit' \(Pad\): it pads with other than a constant"):
        check_trainable(model, PICTURES.frames[:1])


def test_options_out_of_range_are_refused() -> None:
    for wrong in ({"steps": 0}, {"batch": 0}, {"learning_rate": 0.0}, {"learning_rate": 2.0}):
        with pytest.raises(InvalidOption, match="steps and pictures are at least 1, the rate is in"):
            FineTuning(**wrong)
    with pytest.raises(InvalidOption, match="bf16 is not fine-tuned, only int8 is"):
        convert(detector(), "bf16", PICTURES, fine_tuning=SHORT)


def test_too_few_inputs_are_refused() -> None:
    model = simplified(detector())
    with pytest.raises(InputError, match="fine-tuning needs at least 8 inputs of pictures; there are 4"):
        fine_tuned(model, model, ["head"], frames(4), SHORT)

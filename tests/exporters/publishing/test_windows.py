"""The shot detector's window: what its card says of it, and what repositories of earlier versions leave unsaid."""

from __future__ import annotations

import numpy as np
import onnx

from exporters.catalogue.entries import MODELS
from exporters.graphs.compare import run_onnx
from exporters.graphs.scenes import scenes
from exporters.publishing.artefact import bundled_artefact
from reeltag.contract import CUTS, FRAMES, SHOT_CONTEXT_FRAMES, SHOTS_ENSEMBLE, ModelCard, Task
from vod.segments.networks import Networks

SPEC = MODELS["transnetv2"]


def test_the_card_states_the_window() -> None:
    artefact = bundled_artefact(SPEC)
    assert artefact.card.shot_window == SPEC.window_frames == SPEC.input_shape[0] == 200
    cards = {SHOTS_ENSEMBLE: artefact.card} | {
        task.frames_ensemble: bundled_artefact(MODELS[name]).card
        for task, name in ((Task.DETECT, "nanodet_g"), (Task.CLASSIFY, "efficientnet_lite0"))
    }
    networks = Networks(cards)
    assert networks.layout.window_shape == (1, 200, 27, 48, 3)
    assert networks.stride == 150


def test_a_card_that_says_nothing_of_it_is_one_of_100_frames_and_keeps_its_version() -> None:
    old = bundled_artefact(SPEC).card.model_dump(exclude={"window_frames"})
    card = ModelCard.model_validate(old)
    assert card.shot_window == 100
    assert "window_frames" not in card.model_dump_json(exclude_none=True)
    assert card.numbered().version != bundled_artefact(SPEC).card.version


def test_the_graph_takes_any_window_and_long_ones_find_the_same_cuts() -> None:
    """The longer a window, the more of the 50 frames around it does a frame see."""
    graph = onnx.load(SPEC.onnx_path)
    video = scenes(SPEC)
    (short,), (long,) = (run_onnx(graph, {FRAMES: video[:, :frames]})[CUTS] for frames in (100, 140))
    assert (len(short), len(long)) == (100, 140)
    counted = slice(SHOT_CONTEXT_FRAMES, 100 - SHOT_CONTEXT_FRAMES)
    assert np.flatnonzero(long[counted] > 0.5).tolist() == [14, 34]
    np.testing.assert_allclose(short[counted], long[counted], atol=0.05)

"""Where a classifier loses, likewise; the softmax is part of its network."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from exporters.evaluation.classes import ClassificationDataset
from exporters.evaluation.classification import Indexes, best_classes, top_shares
from exporters.gate.own_path import OwnPath, Views
from exporters.gate.stages import COMPARING, FITTED, REFERENCE, SERVING, Losses, metric_name
from exporters.graphs.compare import Floats, Reference
from exporters.progress import Progress, told


def classification_losses(
    reference: Reference,
    own: OwnPath,
    dataset: ClassificationDataset,
    wanted: Sequence[frozenset[int]],
    served: Indexes | None,
    *,
    is_annotated: bool,
    progress: Progress | None = None,
) -> Losses:
    """Split what a classifier loses.

    Args:
        reference: The float32 network, from frames to scores.
        own: The artefact's.
        dataset: Pictures.
        wanted: Of each the classes any of which is right; pictures without one do not count.
        served: The best classes of each through the server; none where no server could run it.
        is_annotated: Whether people said what is right. Otherwise `reference` did, looking at pictures that were fitted
            as ours are; then there is no loss of pre-processing to be seen.
        progress: Told of the batches.

    Raises:
        InputError: A picture cannot be read.
    """
    found: dict[str, list[Indexes]] = {}
    pairs: list[Floats] = []
    for batch in told(dataset.batches(), COMPARING, dataset.batch_count, progress):
        views = [Views.of(dataset.pictures[index], own.spec.view, is_annotated) for index in batch]
        scores = _scores(reference, own, views)
        for stage, of_stage in scores.items():
            found.setdefault(stage, []).append(best_classes(of_stage))
        expected, given = list(scores.values())[-2:]  # of the same frames
        best, rows = expected.argmax(1), np.arange(len(expected))
        pairs.append(np.stack([best == given.argmax(1), np.abs(given - expected)[rows, best]]).astype(np.float32))
    stages = {stage: np.concatenate(parts) for stage, parts in found.items()}
    if served is not None:
        stages[SERVING] = served
    shares = {stage: top_shares(rows, wanted) for stage, rows in stages.items()}
    metrics = {name: {stage: 100 * of_stage[name] for stage, of_stage in shares.items()} for name in shares[REFERENCE]}
    (metric, values), *others = ((metric_name(name, is_annotated), values) for name, values in metrics.items())
    counted = sum(map(bool, wanted))
    return Losses(metric, counted, values, _summary(np.concatenate(pairs, 1)), dict(others))


def _scores(reference: Reference, own: OwnPath, views: Sequence[Views]) -> dict[str, Floats]:
    """After each stage, float32 `(N, C)` each; the last two are of the same frames."""
    frames = np.stack([view.frame for view in views])
    plain = [view.plain[0] for view in views if view.plain is not None]
    scores = {REFERENCE: reference(np.stack(plain))} if plain else {}
    scores[FITTED if plain else REFERENCE] = reference(frames)
    scores["network"] = own.scores(own.run(frames))
    return scores


def _summary(pairs: Floats) -> str:
    same, differences = pairs
    return (
        f"the best class is another than float32's on {int((same == 0).sum())} of {len(same)} pictures; the score of "
        f"float32's best differs by {differences.mean():.4f} (largest {differences.max():.3f})"
    )

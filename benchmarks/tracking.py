"""How well our tracker keeps identities, beside ByteTrack of `trackers`, on the same noisy boxes.

`pip install motmetrics==1.4.0 trackers==2.6.1` into a virtual environment and run `python -m benchmarks.tracking` there: the truth of
TUD-Campus and TUD-Stadtmitte comes with motmetrics. Boxes are dropped, jittered and added by seed; without `trackers` only our rows.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from edge.traffic.tracker import Tracker

RATE: Final = 25.0
"""Frames a second of both sequences."""
SEQUENCES: Final = ("TUD-Campus", "TUD-Stadtmitte")
METRICS: Final = ("mota", "idf1", "hota_alpha")
Frames = list[np.ndarray]
"""For each frame float64 `[N, 5]`: x1, y1, x2, y2, identity."""


class Noise(NamedTuple):
    """What is done to the truth: shares of boxes dropped, of unsure ones, of false ones added, and jitter in shares of a box's size."""

    dropped: float
    unsure: float
    added: float
    jitter: float


NOISES: Final = {
    "light": Noise(0.05, 0.1, 0.05, 0.02),
    "medium": Noise(0.15, 0.2, 0.15, 0.04),
    "heavy": Noise(0.3, 0.3, 0.3, 0.06),
}


def truth(sequence: str) -> Frames:
    """The true boxes of a sequence of motmetrics."""
    spec = find_spec("motmetrics")
    if spec is None or spec.origin is None:
        raise SystemExit("pip install motmetrics==1.4.0: it holds the two sequences and their metrics")
    rows = np.loadtxt(Path(spec.origin).parent / "data" / sequence / "gt.txt", delimiter=",")
    last = int(rows[:, 0].max())
    frames = []
    for number in range(1, last + 1):
        of = rows[rows[:, 0] == number]
        frames.append(np.column_stack((of[:, 2:4], of[:, 2:4] + of[:, 4:6], of[:, 1])))
    return frames


def detections(frames: Frames, noise: Noise, seed: int) -> list[np.ndarray]:
    """What a detector would have seen: float32 `[N, 6]` for each frame."""
    random = np.random.default_rng(seed)
    right = max(frame[:, 2].max() for frame in frames if len(frame))
    bottom = max(frame[:, 3].max() for frame in frames if len(frame))
    return [_noisy(frame, noise, random, right, bottom) for frame in frames]


def _noisy(frame: np.ndarray, noise: Noise, random: np.random.Generator, right: float, bottom: float) -> np.ndarray:
    kept = frame[random.random(len(frame)) >= noise.dropped, :4]
    size = np.tile(kept[:, 2:] - kept[:, :2], 2)
    boxes = kept + random.normal(0.0, noise.jitter, kept.shape) * size
    scores = np.where(
        random.random(len(kept)) < noise.unsure, random.uniform(0.2, 0.6, len(kept)), random.uniform(0.7, 1.0, len(kept))
    )
    false = random.binomial(len(frame), noise.added)
    corner = random.uniform(0, (right * 0.9, bottom * 0.7), (false, 2))
    extra = np.column_stack((corner, corner + random.uniform((20, 60), (90, 200), (false, 2))))
    both = np.concatenate((boxes, extra))
    scores = np.concatenate((scores, random.uniform(0.2, 0.85, false)))
    return np.column_stack((both, scores, np.zeros(len(both)))).astype(np.float32)


def ours(seen: list[np.ndarray]) -> Iterator[np.ndarray]:
    """Boxes and identities, frame by frame, by edge.traffic."""
    tracker = Tracker()
    for number, boxes in enumerate(seen):
        found = tracker.update(number / RATE, boxes)
        yield np.array([[*boxes[track.detection, :4], track.number] for track in found]).reshape(-1, 5)


def theirs(seen: list[np.ndarray]) -> Iterator[np.ndarray]:
    """The same by ByteTrack of `trackers`, as it comes."""
    import supervision  # noqa: PLC0415 - only for the comparison
    from trackers import ByteTrackTracker  # noqa: PLC0415 - likewise

    tracker = ByteTrackTracker(frame_rate=RATE)
    for boxes in seen:
        given = supervision.Detections(xyxy=boxes[:, :4], confidence=boxes[:, 4], class_id=boxes[:, 5].astype(int))
        found = tracker.update(given)
        known = found.tracker_id >= 0
        yield np.column_stack((found.xyxy[known], found.tracker_id[known])).reshape(-1, 5)


def score(frames: Frames, tracked: list[np.ndarray]) -> dict[str, float]:
    """MOTA and IDF1 at an overlap of 0.5, HOTA over overlaps of 0.05 to 0.95; each at most 1."""
    import motmetrics  # noqa: PLC0415 - only in the scratch environment

    thresholds = np.arange(0.05, 0.96, 0.05)
    rows = {threshold: motmetrics.MOTAccumulator(auto_id=True) for threshold in [0.5, *thresholds]}
    for true, found in zip(frames, tracked, strict=True):
        far = _distances(true, found)
        for threshold, one in rows.items():
            one.update(true[:, 4].astype(int), found[:, 4].astype(int), np.where(far <= 1 - threshold, far, np.nan))
    host = motmetrics.metrics.create()
    plain = host.compute(rows[0.5], metrics=["mota", "idf1"], return_dataframe=False)
    hota = [host.compute(rows[one], metrics=["hota_alpha"], return_dataframe=False)["hota_alpha"] for one in thresholds]
    return {"MOTA": float(plain["mota"]), "IDF1": float(plain["idf1"]), "HOTA": float(np.mean(hota))}


def _distances(true: np.ndarray, found: np.ndarray) -> np.ndarray:
    from edge.traffic.boxes import overlaps  # noqa: PLC0415 - beside its only use

    return 1 - overlaps(true, found)


def measure(sequence: str, noise: Noise, seeds: int, tracker: Callable[[list[np.ndarray]], Iterator[np.ndarray]]) -> dict[str, Any]:
    """Means over the seeds."""
    frames = truth(sequence)
    scores, seconds = [], 0.0
    for seed in range(seeds):
        seen = detections(frames, noise, seed)
        began = time.perf_counter()
        tracked = list(tracker(seen))
        seconds += time.perf_counter() - began
        scores.append(score(frames, tracked))
    means = {name: float(np.mean([one[name] for one in scores])) for name in scores[0]}
    return {**means, "ms": 1000 * seconds / seeds / len(frames)}


def main() -> None:
    """Print the table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    ways = {"reeltag": ours, **({"trackers": theirs} if find_spec("trackers") else {})}
    rows = [
        {"sequence": sequence, "noise": name, "tracker": way, **measure(sequence, noise, chosen.seeds, call)}
        for sequence in SEQUENCES
        for name, noise in NOISES.items()
        for way, call in ways.items()
    ]
    if chosen.json:
        print(json.dumps(rows, indent=1))
        return
    print(f"{'sequence':<16}{'noise':<8}{'tracker':<10}{'MOTA':>7}{'IDF1':>7}{'HOTA':>7}{'ms/frame':>10}")
    for row in rows:
        names = f"{row['sequence']:<16}{row['noise']:<8}{row['tracker']:<10}"
        print(f"{names}{row['MOTA']:>7.3f}{row['IDF1']:>7.3f}{row['HOTA']:>7.3f}{row['ms']:>10.2f}")


if __name__ == "__main__":
    main()

"""One object over many frames: ByteTrack (Zhang et al., 2022) with times in seconds, for frames that may be missing.

Sure detections are matched with all tracks first, then the unsure ones with the tracks that are left: a vehicle half
behind another keeps its track. Own lines rather than a library: `trackers` and `supervision` need SciPy and a Python
newer than JetPack 5 has; `python -m benchmarks.tracking` compares.
"""

from __future__ import annotations

from typing import Any, Sequence

import numpy as np
import numpy.typing as npt

from edge.traffic.boxes import best_pairs, overlaps
from edge.traffic.motion import Motion

SURE = 0.4
"""Score from which a detection is matched first."""
BEGINS = 0.5
"""Score from which a detection begins a track."""
LOST_SECONDS = 1.2
"""How long a track that nobody sees is kept."""
LEAST_OVERLAP = 0.2
LOST_LIKENESS = 0.85
"""What the likeness to a track that the last frame did not show is worth: where it is now is a guess."""


class Track:
    """One object.

    Attributes:
        number: 1, 2, 3 and so on, never used again; 0 until two frames in a row have shown it.
        first_box: Where it was first seen, before it had a number.
        box: float64 `[4]`, x1, y1, x2, y2 in source pixels: as detected, or where it should be while nobody sees it.
        seen: Whether the last frame showed it.
        first_seconds: When it was first seen, by the clock that `Tracker.update` is given.
        last_seconds: When it was last seen.
        hits: Frames that showed it.
        detection: Row of the last frame's detections that is this object; -1 where it was not seen.
        score: Of its last detection.
    """

    def __init__(self, seconds: float, detection: int, score: float, box: npt.NDArray[Any]) -> None:
        self.number = 0
        self.first_box = box
        self.box = box
        self.seen = True
        self.first_seconds = seconds
        self.last_seconds = seconds
        self.hits = 1
        self.detection = detection
        self.score = score
        self.votes: dict[int, float] = {}

    @property
    def class_index(self) -> int:
        """The class that most of its detections had, each by its score; of equal ones the first."""
        return max(self.votes, key=lambda index: (self.votes[index], -index))

    @property
    def class_share(self) -> float:
        """Share of the votes for `class_index`, 0 to 1."""
        return self.votes[self.class_index] / max(sum(self.votes.values()), 1e-9)


class Tracker:
    """The tracks of one camera.

    Args:
        lost_seconds: How long a track that nobody sees is kept; within it an object that comes back has its number.
        begins: Score from which a detection begins a track.
        sure: Score from which a detection is matched first.
    """

    def __init__(self, lost_seconds: float = LOST_SECONDS, begins: float = BEGINS, sure: float = SURE) -> None:
        self.tracks: list[Track] = []
        self._motion = Motion()
        self._lost_seconds, self._begins, self._sure = lost_seconds, begins, sure
        self._seconds = 0.0
        self._before = 0.0
        self._numbers = 0

    def update(self, seconds: float, detections: npt.NDArray[Any]) -> Sequence[Track]:
        """Take in a frame.

        Args:
            seconds: When it was captured, by a clock that never goes back.
            detections: float32 `[N, 6]`, x1, y1, x2, y2, score, class index.

        Returns:
            The tracks that this frame shows and that have a number.
        """
        passed = max(seconds - self._seconds, 0.0) if self.tracks else 0.0
        self._before, self._seconds = self._seconds, seconds
        self._motion.predict(passed, np.array([not track.seen for track in self.tracks], dtype=bool))
        for track in self.tracks:
            track.seen, track.detection = False, -1
        sure = detections[:, 4] >= self._sure
        left = self._match(np.flatnonzero(sure), detections)
        self._match(np.flatnonzero(~sure), detections)
        self._begin(left[detections[left, 4] >= self._begins], detections)
        self._forget()
        for track, box in zip(self.tracks, self._motion.boxes()):
            track.box = detections[track.detection, :4].astype(np.float64) if track.seen else box
        return [track for track in self.tracks if track.seen and track.number]

    def end(self) -> Sequence[Track]:
        """Forget all tracks; those that have a number."""
        ended = [track for track in self.tracks if track.number]
        self.tracks = []
        self._motion = Motion()
        return ended

    def velocity(self, track: Track) -> npt.NDArray[Any]:
        """Pixels a second of a track's centre, float64 `[2]`."""
        return np.asarray(self._motion.velocity[self.tracks.index(track), :2])

    def _match(self, rows: npt.NDArray[Any], detections: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Match these detections with the tracks not matched yet; what is left of the detections."""
        waiting = np.array([at for at, track in enumerate(self.tracks) if not track.seen], dtype=np.int64)
        pairs = best_pairs(self._likeness(waiting, detections[rows]), 1e-6)
        at = waiting[[row for row, _ in pairs]]
        found = rows[[column for _, column in pairs]]
        self._motion.correct(at, detections[found])
        for index, row in zip(at, found):
            self._see(self.tracks[index], int(row), detections[row])
        return np.setdiff1d(rows, found)

    def _likeness(self, waiting: npt.NDArray[Any], detections: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Of tracks and detections, float32 `[T, N]`, 0 where they overlap too little to be the same.

        Overlaps are squared, so that one good pair is worth more than two poor ones: else a false box beside a vehicle
        takes over its track, and its own box goes to a track that was lost there.
        """
        overlap = overlaps(self._motion.boxes()[waiting], detections)
        is_lost = np.array([self.tracks[at].last_seconds < self._before for at in waiting], dtype=bool)
        worth = np.where(is_lost, LOST_LIKENESS, 1.0).astype(np.float32)
        return np.where(overlap >= LEAST_OVERLAP, overlap**2 * worth[:, None], np.float32(0.0))

    def _see(self, track: Track, row: int, detection: npt.NDArray[Any]) -> None:
        track.seen, track.detection, track.score = True, row, float(detection[4])
        track.last_seconds = self._seconds
        track.hits += 1
        _vote(track, detection)
        if not track.number:
            self._numbers += 1
            track.number = self._numbers

    def _begin(self, rows: npt.NDArray[Any], detections: npt.NDArray[Any]) -> None:
        self._motion.add(detections[rows])
        for row in rows:
            track = Track(self._seconds, int(row), float(detections[row, 4]), detections[row, :4].astype(np.float64))
            _vote(track, detections[row])
            self.tracks.append(track)

    def _forget(self) -> None:
        kept = [self._is_kept(track) for track in self.tracks]
        if not all(kept):
            self._motion.keep(np.array(kept, dtype=bool))
            self.tracks = [track for track, keep in zip(self.tracks, kept) if keep]

    def _is_kept(self, track: Track) -> bool:
        return track.seen or (bool(track.number) and self._seconds - track.last_seconds <= self._lost_seconds)


def _vote(track: Track, detection: npt.NDArray[Any]) -> None:
    index = int(detection[5])
    track.votes[index] = track.votes.get(index, 0.0) + float(detection[4])

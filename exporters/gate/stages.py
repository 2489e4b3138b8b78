"""What an artefact loses, stage by stage of the way from a picture to its answer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Final

REFERENCE: Final = "reference"
FITTED: Final = "pre-processing"
SERVING: Final = "serving"
STAGES: Final = {
    REFERENCE: "plain pre-processing, fp32 network, plain post-processing",
    FITTED: "reeltag decodes and scales",
    "network": "the artefact's network",
    "post-processing": "its decoding, reeltag's suppression",
    SERVING: "all of it through Triton",
}
"""What each stage stands for; each includes those before it."""
_FITTED_REFERENCE: Final = "reeltag decodes and scales, fp32 network, plain post-processing"
"""What the reference is where no stage of its own says what pre-processing loses."""
COMPARING: Final = "comparing stage by stage"
"""Told to `Progress`."""
_AGREEMENT: Final = "agreement "


def metric_name(metric: str, is_annotated: bool) -> str:
    """Such as `AP`, or `agreement AP` where the float32 network says what is right."""
    return metric if is_annotated else f"{_AGREEMENT}{metric}"


@dataclass(frozen=True)
class Losses:
    """Accuracy after each stage."""

    metric: str
    """`AP`, `mIoU` or `top-1` against what people annotated; `agreement AP`, ... against what the float32 network makes
    of the same frames."""
    pictures: int
    """That it was measured on."""
    values: Mapping[str, float]
    """By stage, in the order of `STAGES`, percent; the last one is the artefact's."""
    tensors: str
    """How far the network's tensors are from the float32 network's, on the same frames, for people."""
    further: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """Values of other metrics, such as `top-5`, likewise."""

    @property
    def is_agreement(self) -> bool:
        """Whether the float32 network says what is right."""
        return self.metric.startswith(_AGREEMENT)

    @property
    def is_served(self) -> bool:
        """Whether the last stage is the artefact in Triton; otherwise it is its graph in OpenVINO."""
        return SERVING in self.values

    @property
    def reference(self) -> float:
        """Of the path without reeltag, percent."""
        return self.values[REFERENCE]

    @property
    def measured(self) -> float:
        """Of the artefact, percent."""
        return list(self.values.values())[-1]

    @property
    def lost(self) -> float:
        """In points; below 0 where it is better than the reference."""
        return self.reference - self.measured

    @property
    def by_stage(self) -> dict[str, float]:
        """Points that each stage loses."""
        values = list(self.values.values())
        return dict(zip(list(self.values)[1:], (a - b for a, b in pairwise(values)), strict=True))

    def by_metric(self) -> Iterator[Losses]:
        """The same of each metric alone."""
        for metric, values in {self.metric: self.values, **self.further}.items():
            yield replace(self, metric=metric, values=values, further={})

    def rows(self) -> list[dict[str, str]]:
        """For a table."""
        texts = dict(STAGES) if FITTED in self.values else STAGES | {REFERENCE: _FITTED_REFERENCE}
        rows = [{"stage": stage, "what": texts[stage]} for stage in self.values]
        for one in self.by_metric():
            loss = "loss" if one.metric == self.metric else f"loss of {one.metric}"
            lost = {REFERENCE: ""} | {stage: f"{points:+.2f}" for stage, points in one.by_stage.items()}
            for row, (stage, value) in zip(rows, one.values.items(), strict=True):
                row |= {one.metric: f"{value:.2f}", loss: lost[stage]}
        return rows

    def __str__(self) -> str:
        parts = ", ".join(f"{stage} {points:.1f}" for stage, points in self.by_stage.items())
        verb = (
            f"loses {self.lost:.1f} {self.metric} of" if self.lost >= 0 else f"gains {-self.lost:.1f} {self.metric} on"
        )
        return f"{verb} {self.reference:.1f} ({parts})"

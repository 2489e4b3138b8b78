"""How an int8 graph is fine-tuned."""

from __future__ import annotations

from dataclasses import dataclass

from reeltag.errors import InvalidOption


@dataclass(frozen=True)
class FineTuning:
    """How long and how boldly int8 is fine-tuned."""

    steps: int = 200
    """Updates of the weights, at least 1."""
    batch: int = 4
    """Pictures for each."""
    learning_rate: float = 0.02
    """Of the first updates, in steps of int8's grid; it falls to 0 along a cosine."""

    def __post_init__(self) -> None:
        if self.steps < 1 or self.batch < 1 or not 0 < self.learning_rate <= 1:
            raise InvalidOption(
                f"fine-tuning with {self.steps} steps of {self.batch} pictures at a learning rate of "
                f"{self.learning_rate} is not possible; steps and pictures are at least 1, the rate is in (0, 1]"
            )

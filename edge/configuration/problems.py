"""What is wrong with a configuration."""

from __future__ import annotations

from typing import NamedTuple, Sequence

from reeltag.errors import InputError


class Problem(NamedTuple):
    """One mistake."""

    path: str
    """Where, such as `cameras[0].zones[1].points`."""
    message: str
    """What is wrong, and what would be right."""

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


class ConfigurationError(InputError):
    """A configuration that cannot be used.

    Attributes:
        problems: Every one of them, in the order of the file.
    """

    def __init__(self, file: str, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(f"{file}: {problem}" for problem in problems))

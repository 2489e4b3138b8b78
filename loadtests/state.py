"""What one process of a load test knows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from loadtests.known import Picture
from loadtests.samples import Sample
from loadtests.shapes import KneeSearch


class State:
    """Of the process: Locust makes its users and shapes itself, and hands them nothing."""

    pictures: ClassVar[Iterator[Picture]]
    """The pictures, round and round."""
    videos: ClassVar[Iterator[str]]
    """What jobs are made of, round and round."""
    videos_per_job: ClassVar[int] = 1
    deletes_jobs: ClassVar[bool] = False
    headers: ClassVar[dict[str, str]] = {}
    grpc_target: ClassVar[str] = ""
    is_impatient: ClassVar[bool] = False
    """Whether users who were refused come again at once."""
    samples: ClassVar[list[Sample]] = []
    search: ClassVar[KneeSearch | None] = None

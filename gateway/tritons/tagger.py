"""What the gateway needs of Triton; `reeltag.triton.TritonClient` is one, tests bring their own."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple, Protocol

from reeltag.contract import ModelCard, Task
from reeltag.errors import ImageRejected
from reeltag.statistics import ModelStatistics
from reeltag.triton import ImageOutputs
from reeltag.triton_connection import IndexEntry

TaskSet = tuple[Task, ...]
"""Tasks that are asked of one decoding, in the order of `Task`, each once."""


class Wanted(NamedTuple):
    """What is asked of images; those of which the same is asked go to Triton together."""

    tasks: TaskSet
    class_maps: bool = False
    """The segmenter's class maps as well as its shares."""
    models: tuple[str, ...] = ()
    """Networks that were named, at most one a task; the defaults answer the other tasks."""


class OwnTriton(Protocol):
    """A Triton that is kept running for this gateway; `reeltag.embedded.EmbeddedTriton` is one."""

    @property
    def trouble(self) -> str | None:
        """Why it does not come back by itself; None where it runs or is being started again."""

    def restart(self, reason: str) -> None:
        """End it at once and start it again."""


class ImageTagger(Protocol):
    """Answers tasks about encoded images; the methods are those of `TritonClient`."""

    @property
    def url(self) -> str:
        """Host and port of Triton's gRPC endpoint."""

    async def is_ready(self) -> bool:
        """Whether Triton answers and its models are loaded."""

    async def index(self) -> list[IndexEntry]:
        """Every version of every model, with its state."""

    async def cards(self) -> dict[str, ModelCard]:
        """Model cards of the ready ensembles, by ensemble name; may be remembered."""

    async def networks(self) -> dict[str, ModelCard]:
        """Model cards of the networks that can be asked by name, by it; may be remembered."""

    def forget_cards(self) -> None:
        """Read the cards again at the next call."""

    async def model_statistics(self, *, timeout_seconds: float) -> list[ModelStatistics]:
        """Triton's own statistics, those of every version of every loaded model and ensemble."""

    async def infer_images(
        self,
        cards: Mapping[Task, ModelCard],
        images: Sequence[bytes],
        *,
        class_maps: bool = False,
        named: Collection[str] = (),
        timeout_seconds: float | None = None,
    ) -> list[ImageOutputs | ImageRejected]:
        """Answers of the networks of these cards, some of which are asked by name; one an image, in order.

        Raises:
            NetworkReplaced: Others have taken their place.
        """

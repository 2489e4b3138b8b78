"""NanoDet-g behind mosec with its batching: `MODEL=... VIEW=... WORKERS=... mosec_server.py --port PORT`.

Its stages are processes: pictures are decoded in one each core, and the network's stage gathers batches.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from mosec import Server, Worker

sys.path.insert(0, str(Path(__file__).parent))
from pipeline import Decoder, Network, cores

MODEL, VIEW, WORKERS = os.environ["MODEL"], os.environ["VIEW"], int(os.environ["WORKERS"])


class Decode(Worker):  # type: ignore[misc]  # not installed where types are checked
    """Encoded picture to the network's input."""

    def __init__(self) -> None:
        self.decoder = Decoder(VIEW, 1)

    def deserialize(self, data: bytes) -> bytes:
        """The body as it is."""
        return data

    def forward(self, data: bytes) -> Any:
        """One picture."""
        return self.decoder([data])


class Detect(Worker):  # type: ignore[misc]
    """Batches of inputs to boxes."""

    def __init__(self) -> None:
        self.network = Network(MODEL, max(1, cores() // WORKERS))

    def forward(self, data: list[Any]) -> list[Any]:
        """One batch."""
        import numpy as np  # noqa: PLC0415 - after `pipeline` has set the path

        pixels, geometry = (np.concatenate(parts) for parts in zip(*data, strict=True))
        return [{"detections": found} for found in self.network(pixels, geometry)]


if __name__ == "__main__":
    server = Server()
    server.append_worker(Decode, num=cores())
    server.append_worker(Detect, num=WORKERS, max_batch_size=8, max_wait_time=4)
    server.run()

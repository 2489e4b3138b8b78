"""Events: kept, delivered, and pictures of them."""

from __future__ import annotations

from edge.events.publisher import Publisher
from edge.events.snapshots import Snapshots

__all__ = ["Publisher", "Snapshots"]

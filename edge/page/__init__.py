"""A page to look at cameras, counts and figures, and to draw lines and zones."""

from __future__ import annotations

from edge.page.server import Page

__all__ = ["Page"]

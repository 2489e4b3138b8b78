"""What is watched and where it is told: one YAML file."""

from __future__ import annotations

from edge.configuration.loading import load
from edge.configuration.problems import ConfigurationError, Problem
from edge.configuration.words import CameraSettings, Configuration, Line, Zone

__all__ = ["CameraSettings", "Configuration", "ConfigurationError", "Line", "Problem", "Zone", "load"]

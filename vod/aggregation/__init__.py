"""From what was seen in frames to shots, intervals and tags; pure functions."""

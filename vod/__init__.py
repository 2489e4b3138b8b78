"""Video on demand: decodes and samples videos in a killable child, asks Triton, and writes time-coded tags."""

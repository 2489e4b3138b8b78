"""What an artefact loses against float32, measured through a server of its own, and whether that is too much."""

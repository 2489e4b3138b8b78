"""What an artefact loses, measured through a server of its own, and whether it is too much."""

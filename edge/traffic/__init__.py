"""What happens on a road: tracks, lines, zones, speeds and plates."""

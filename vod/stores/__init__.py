"""Where inputs are found and where results are written."""

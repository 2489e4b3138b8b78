"""Scripts that answer one question of speed each; figures are recorded in RESULTS.md."""

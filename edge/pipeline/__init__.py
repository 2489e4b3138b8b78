"""From the newest frame to events, in memory that is taken once."""

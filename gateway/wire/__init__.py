"""A client's connection: framing, limits on time, bytes and number, TLS."""

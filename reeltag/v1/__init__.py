"""Version 1 of the gRPC interface: `tagging.proto`, and what `make stubs` generates from it."""

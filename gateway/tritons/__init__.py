"""The Triton servers behind the gateway: what they serve, how they do, and which one is asked."""

"""How fast a network is: PyTorch against the runtimes, and from a JPEG to boxes rung by rung."""

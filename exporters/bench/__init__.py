"""How fast a network is: PyTorch against the runtimes, and from JPEG to boxes step by step."""

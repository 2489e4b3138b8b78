"""A network that the user brings as ONNX: read, probed, adapted and given a head."""

"""What writes a lower precision into a graph: casts, or quantization after calibration."""

"""Pure functions on ONNX graphs: composed, decoded, suppressed, compared with another answer, run."""

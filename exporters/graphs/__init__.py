"""Pure functions on ONNX graphs: composed, decoded, suppressed, compared, run."""

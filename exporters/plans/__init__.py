"""TensorRT plans: built, timed layer by layer, run."""

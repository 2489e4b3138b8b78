"""TensorRT plans: built, timed layer by layer, run; one door to what differs between versions of TensorRT."""

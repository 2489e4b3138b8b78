"""From a network's published weights to a model folder that Triton serves."""

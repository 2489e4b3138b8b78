"""The parts of `benchmarks.gpu_check`, one file each; every one runs in a process of its own."""

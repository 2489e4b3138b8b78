"""The HTTP gateway: takes images, gathers them into batches for Triton, answers with tags."""

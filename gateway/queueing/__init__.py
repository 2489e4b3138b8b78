"""What waits for Triton: requests, their order, their deadlines, and the rate at which they leave."""

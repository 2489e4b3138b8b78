"""From a camera, a file or a test pattern to the newest frame."""

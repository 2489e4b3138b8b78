"""The edge watches itself: metrics, the device's own figures, the watchdog."""

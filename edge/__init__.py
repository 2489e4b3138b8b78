"""The edge: a camera, a network and what it sees as events, in one process, for latency.

Everything here runs under Python 3.8 (JetPack 5) with numpy, OpenCV and PyYAML; a runtime, GStreamer and MQTT are
imported where they are used.
"""

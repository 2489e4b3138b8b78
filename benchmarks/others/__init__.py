"""Other Python model servers with the same network, the same pictures and the same decoding and suppression.

`python -m benchmarks.others` compares them with the gateway. Their packages are no part of ours: each has a virtual
environment of its own, made from the requirements file beside its server.
"""

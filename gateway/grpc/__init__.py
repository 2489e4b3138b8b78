"""The gateway's gRPC interface, `reeltag.v1.Tagging`: the same answers, limits and error codes as over REST."""

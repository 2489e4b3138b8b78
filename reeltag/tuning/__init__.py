"""Tries sizes of a server on this machine under real requests: what `reeltag tune` does."""

"""Load tests with Locust: a client of the service that imports nothing of it.

`python -m loadtests --help` says what there is; docs/load-testing.md how to read it.
"""

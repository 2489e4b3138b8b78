"""What can be seen of the gateway: log, metrics and traces of each request."""

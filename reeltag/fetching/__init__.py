"""Fetching from the web: from hosts that the operator allows and public addresses only."""

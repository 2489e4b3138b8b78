"""What can be exported: networks, their labels, groups, colours and where their weights are."""

"""What can be exported: one entry for each network, its labels, groups and colours, and where its weights are."""

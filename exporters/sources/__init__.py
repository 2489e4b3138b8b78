"""Where networks come from: each a composed graph in float32 and an independent reference of it."""

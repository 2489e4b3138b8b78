"""Where networks come from: a composed graph in float32 and a reference of it by other means."""

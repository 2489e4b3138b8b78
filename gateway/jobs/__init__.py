"""Jobs as the gateway's clients see them: what they send, what they are told, and how long they may listen."""

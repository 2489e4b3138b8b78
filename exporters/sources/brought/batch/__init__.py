"""The batch of a brought network: freed where that is proved right, else one picture at a time."""

"""What a client is told: schemas, their description, pictures and class maps."""

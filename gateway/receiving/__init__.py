"""What a client sends, read within its limits: bodies, forms, addresses, options."""

"""Python backends that are copied into model folders; they import nothing of reeltag."""

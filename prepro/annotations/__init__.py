"""Caption annotations: one reader a format, records, splits and validation."""

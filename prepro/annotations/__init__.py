"""Caption annotations: formats, records, splits and validation."""

"""One file for each family of encoders; each lists its networks in ENCODERS (EncoderSpec)."""

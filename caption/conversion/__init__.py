"""Checkpoints of earlier systems: read without running their code, and mapped to our decoders."""

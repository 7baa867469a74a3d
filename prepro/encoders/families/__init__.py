"""Encoder families: every module here lists its networks in ENCODERS."""

"""Decoding: from the distributions of a decoder to captions.

`decode` is the entry point. `search` (with `beams`) and `sampling` are the two methods, constraints
filter tokens in both, and `consensus` ranks the candidates again.
"""

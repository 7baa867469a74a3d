"""Extracting features: what prepro.features is made of.

features -> run_features -> pictures (decoding) -> extract (the network) -> feature_writer.
"""

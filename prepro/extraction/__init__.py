"""Extracting features: what prepro.features is made of.

features -> pipeline -> pictures (decoding) -> extract (the network) -> feature_writer.
"""

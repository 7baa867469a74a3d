"""Feature extraction: the parts of prepro.features.

prepro.features -> pipeline -> image_loader (decoding) -> extractor (the network) -> feature_writer.
"""

"""Captioning images with trained runs: ensembles, image sources, resumable results."""

"""Training an encoder: what prepro.pretrain, classify and pack are made of.

pretrain -> trainer (the loop) -> batches, augment, targets, evaluate; recipes says how.
"""

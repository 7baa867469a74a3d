"""Training: setup (open_trainer) -> trainer (the loop's parts) -> learner (network, optimizer).

objectives are the losses: cross entropy (losses) or self-critical training (scst, reward, ngrams).
stages says which objective an epoch has and whether the encoder is fine-tuned.
"""

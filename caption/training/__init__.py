"""What caption.train is made of: one step, one validation, one checkpoint, and what learns in them.

trainer -> learner (network, optimiser) -> objectives (cross entropy, or the score itself).
"""

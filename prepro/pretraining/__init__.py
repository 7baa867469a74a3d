"""Training and evaluating encoders: the parts of prepro.pretrain, classify and pack.

prepro.pretrain -> trainer (the loop) -> batches, augment, tasks, evaluate, checkpoint and
training_log. recipes holds the hyperparameters; datasets opens the data.
"""

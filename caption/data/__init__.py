"""Training data: the data folder, batches of captions, and where features live in memory."""

"""Training data: a data folder, batches of images and captions, and where features are kept."""

"""The metrics, one a file, and the n-gram counts that they share."""

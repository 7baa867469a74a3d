"""The reason why a metric is left out: an optional part is not installed."""


class Unavailable(Exception):
    """A metric that cannot be computed here, and why, in one line."""

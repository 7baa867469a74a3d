"""One metric a file: each module here that defines `score(pairs)` is a metric.

`score` takes `eval.metrics.ngram_counts.Pairs` and returns `Scores` by metric name. The other
modules are helpers.
"""

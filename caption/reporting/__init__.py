"""The page of caption.report: captions, statistics, attention overlays, and HTML."""

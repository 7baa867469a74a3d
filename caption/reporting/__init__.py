"""The page of caption.report: captions, statistics, attention overlays, and the HTML around them."""

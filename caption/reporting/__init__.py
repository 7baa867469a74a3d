"""What caption.report shows: captions, statistics, attention overlays, the HTML page."""

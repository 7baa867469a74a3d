"""The pages of caption.report and caption.demo: what a browser gets, and who serves it."""

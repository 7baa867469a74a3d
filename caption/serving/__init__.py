"""The page of caption.demo: the web application, its queue, and the files that a browser gets."""

"""What caption.demo serves: the web application, its queue and its page."""

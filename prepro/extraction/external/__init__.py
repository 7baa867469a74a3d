"""Features that other systems have written: one kind of file a module; nothing is unpickled."""

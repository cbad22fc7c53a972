"""What the user asks for: the lab file, read, checked and given addresses."""

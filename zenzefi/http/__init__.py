"""The server's part for every request: validation, client address, errors, observation."""

"""What the server does for every request: validation, client address, errors, observation."""

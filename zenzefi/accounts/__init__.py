"""Users: registration, sign-in, profile."""

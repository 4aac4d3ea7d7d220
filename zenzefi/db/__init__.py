"""Engine, session and the base of all models."""

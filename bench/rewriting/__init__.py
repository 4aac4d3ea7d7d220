"""Rewriting speed, side by side: ``python -m bench.rewriting``."""

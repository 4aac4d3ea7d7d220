"""The way through, side by side with its peers in one run: ``python -m bench.proxy``."""

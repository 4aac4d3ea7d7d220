"""The cost of the runtime script in a browser."""

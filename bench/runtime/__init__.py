"""What the runtime script costs in a browser."""

"""The commands behind ``zenzefi ...``, one module per subject; ``zenzefi.cli`` lists them."""

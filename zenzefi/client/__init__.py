"""The desktop agent behind ``zenzefi connect``."""

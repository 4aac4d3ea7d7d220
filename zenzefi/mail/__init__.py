"""Sending e-mail: an interface, SMTP, and the log for development."""

"""E-mail: messages from templates, the background queue, and transports (SMTP, log)."""

"""Access tokens: purchase, validation, activation, ending."""

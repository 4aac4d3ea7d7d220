"""Administration: users, credits, tokens, sessions, bundles, payments, audit log."""

"""Sign-in with identity providers: OpenID Connect Core 1.0, authorization code flow with PKCE."""

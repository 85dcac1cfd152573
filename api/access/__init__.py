"""Who may do what: API keys, scopes, limits."""

"""Who may call the endpoint: tokens, API keys, roles, rate limits, and what a request may weigh."""

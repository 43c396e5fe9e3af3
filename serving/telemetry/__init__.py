"""What the endpoint tells its operators: JSON logs, traces, metrics; no secret and no user in them."""

"""The routes of the endpoint, as a FastAPI app: a file a subject, each with `add(app, state)`."""

"""A list of videos for one request: made, kept, answered."""

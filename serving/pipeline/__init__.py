"""From a user to a list: candidates, filters, blend, session, diversity, exploration. Each step a function."""

"""A/B tests of the feed: how they are declared, who gets which variant."""

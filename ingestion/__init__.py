"""Where events come from: public data sets and the traffic simulator, all writing the same tables."""

"""`make bench-data`: what the warehouse costs at 100M events a day, on embedded servers of its own."""

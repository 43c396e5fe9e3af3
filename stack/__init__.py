"""What runs underneath: settings, the embedded servers, and the commands that start and stop them."""

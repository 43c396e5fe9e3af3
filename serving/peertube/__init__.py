"""Videos of our own: uploaded to PeerTube, registered in Postgres, streamed from PeerTube."""

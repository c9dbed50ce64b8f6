"""Numbers over finished runs."""

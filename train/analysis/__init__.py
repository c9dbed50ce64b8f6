"""Statistics and tables of finished runs."""

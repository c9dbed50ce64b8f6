"""The off-policy methods PEARL, MQL and MIER."""

"""What the off-policy methods PEARL, MQL and MIER share."""

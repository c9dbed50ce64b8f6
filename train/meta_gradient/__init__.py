"""What ProMP and E-MAML share: stacked policy, baseline, rollouts, objectives, meta-gradient."""

"""Parts of ProMP and E-MAML: stacked policy, baseline, rollouts, objectives, meta-gradient."""

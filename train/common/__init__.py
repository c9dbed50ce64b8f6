"""What the learner scripts share."""

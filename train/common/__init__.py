"""Code shared by the learner scripts."""

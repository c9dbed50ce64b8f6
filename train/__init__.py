"""Scripts that train, evaluate and compare; read ``recurrent_ppo.py`` first."""

"""Imaginary tasks around an environment in two lines."""

import argparse

from ldm_wrappers.sb3 import SequenceRecurrentPPO, WholeSequenceLstmPolicy, imagine


def main(total_timesteps: int) -> None:
    # six workers get their environment's rewards, two get those of imaginary tasks
    vec_env, callback = imagine("LDM-GridNavi-v0", n_episodes=4, n_mixture=2)
    agent = SequenceRecurrentPPO(WholeSequenceLstmPolicy, vec_env, n_steps=120, batch_size=None)
    agent.learn(total_timesteps, callback=callback)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--total-timesteps", type=int, default=100_000)
    main(**vars(parser.parse_args()))

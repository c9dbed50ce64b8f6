"""Tests use one thread, since a second one only costs time, and leave no folders in /tmp."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from ldm_envs.mujoco_opengl import load_triton_first

load_triton_first()  # before a test draws without an environment of ours


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True, scope="session")
def logs_of_stable_baselines3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A learner without a logger makes a folder; pytest removes those of old sessions."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SB3_LOGDIR", str(tmp_path_factory.mktemp("sb3")))
        yield

"""Tests work on small tensors, where a second thread only costs time."""

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

"""Tests work on small tensors, where a second thread only costs time."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest
import torch

# PyTorch's CUDA builds import triton with the first optimizer. Triton and Mesa's software renderer
# bring an LLVM each, and where Mesa has drawn before, that import ends the process.
with contextlib.suppress(ImportError):
    import triton  # noqa: F401


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)

"""``torch.nn.GRU`` with a leaner recurrence on the CPU."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

Tensor = torch.Tensor


class GRU(nn.GRU):
    """A one-layer, time-first GRU: weights and equations of ``nn.GRU``, about twice as fast on CPU.

    PyTorch's CPU kernel creates a dozen small graph nodes per step, which cost more than their
    arithmetic. Here the recurrence is one node, written in NumPy because its calls on such small
    arrays are several times cheaper; everything independent of the previous state is computed for
    all steps at once. Without gradients, for one step or on CUDA, it is ``nn.GRU`` itself.

    Args:
        input_size: Columns of the input.
        hidden_size: Columns of the state.
    """

    weight_ih_l0: Tensor
    weight_hh_l0: Tensor
    bias_ih_l0: Tensor
    bias_hh_l0: Tensor

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)

    def orthogonal_(self) -> GRU:
        """Make the weights orthogonal and the biases 0, as in the authors' encoders."""
        for name, parameter in self.named_parameters():
            (nn.init.zeros_ if "bias" in name else nn.init.orthogonal_)(parameter)
        return self

    def step(self, inputs: Tensor, hidden: Tensor) -> Tensor:
        """The next state (batch, hidden_size) for an input (batch, input_size) and a state.

        Gives the same numbers as a sequence of one step, without the checks of the module.
        """
        weights: Any = self._flat_weights
        return torch.gru_cell(inputs, hidden, *weights)

    def forward(  # type: ignore[override]
        self, inputs: Tensor, hidden: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Inputs (T, batch, input_size) and state (1, batch, hidden_size), as ``nn.GRU``."""
        plain = inputs.shape[0] == 1 or not torch.is_grad_enabled()
        if plain or inputs.device.type != "cpu" or inputs.dtype != torch.float32:
            outputs, last = super().forward(inputs, hidden)
            return outputs, last
        projected = nn.functional.linear(inputs, self.weight_ih_l0, self.bias_ih_l0)
        outputs = _Recurrence.apply(projected, hidden[0], self.weight_hh_l0, self.bias_hh_l0)
        return outputs, outputs[-1:]


class _Recurrence(torch.autograd.Function):
    """h_t = n + z·(h_{t−1} − n), n = tanh(x_n + r·(W_n h_{t−1} + b_n)); r and z are sigmoids.

    A sigmoid is computed as σ(x) = (1 + tanh(x / 2)) / 2.
    """

    @staticmethod
    def forward(
        ctx: Any, projected: Tensor, hidden: Tensor, weight: Tensor, bias: Tensor
    ) -> Tensor:
        size = hidden.shape[1]
        steps = projected.numpy()
        halves = np.ones(3 * size, np.float32)
        halves[: 2 * size] = 0.5
        transposed = (weight * torch.from_numpy(halves).unsqueeze(-1)).t().contiguous()
        offset = bias.numpy() * halves
        gates = (steps[..., : 2 * size] + bias.numpy()[: 2 * size]) * np.float32(0.5)
        candidates = steps[..., 2 * size :].copy()
        recurrent = np.empty_like(candidates)  # W_n h + b_n, kept for the backward pass
        states = np.empty((len(steps) + 1, *hidden.shape), np.float32)
        states[0] = hidden.numpy()
        product = np.empty((len(hidden), 3 * size), np.float32)
        work = np.empty(hidden.shape, np.float32)
        half, offset_n = np.float32(0.5), offset[2 * size :]
        outputs, product_tensor = torch.from_numpy(states), torch.from_numpy(product)
        for tensor, state, following, gate, candidate, inner in zip(
            outputs.unbind()[:-1],
            states[:-1],
            states[1:],
            gates,
            candidates,
            recurrent,
            strict=True,
        ):
            # torch's product, so that all products use the threads of one library
            torch.mm(tensor, transposed, out=product_tensor)
            gate += product[:, : 2 * size]
            np.tanh(gate, out=gate)
            gate *= half
            gate += half
            np.add(product[:, 2 * size :], offset_n, out=inner)
            np.multiply(gate[:, :size], inner, out=work)
            candidate += work
            np.tanh(candidate, out=candidate)
            np.subtract(state, candidate, out=work)
            work *= gate[:, size:]
            np.add(candidate, work, out=following)
        arrays = (torch.from_numpy(array) for array in (gates, candidates, recurrent))
        ctx.save_for_backward(outputs, *arrays, weight)
        return outputs[1:]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        weight = ctx.saved_tensors[-1]
        states, gates, candidates, recurrent = (t.numpy() for t in ctx.saved_tensors[:-1])
        size = candidates.shape[-1]
        reset, update = gates[..., :size], gates[..., size:]
        # d h_t / d (pre-activations), for all steps at once
        rest = 1.0 - update
        to_update = (states[:-1] - candidates) * update * rest
        to_candidate = rest * (1.0 - candidates * candidates)
        to_reset = recurrent * reset * (1.0 - reset)

        inner = np.empty((*candidates.shape[:2], 3 * size), np.float32)  # gradient at W h + b
        outer = np.empty_like(candidates)  # gradient at x_n, which the reset gate does not scale
        carried = np.zeros_like(states[0])
        work = np.empty_like(carried)
        rows, work_tensor = torch.from_numpy(inner).unbind(), torch.from_numpy(work)
        gradient = gradients[0].numpy()
        for step in range(len(candidates) - 1, -1, -1):
            row, candidate = inner[step], outer[step]
            carried += gradient[step]
            np.multiply(carried, to_candidate[step], out=candidate)
            np.multiply(candidate, to_reset[step], out=row[:, :size])
            np.multiply(carried, to_update[step], out=row[:, size : 2 * size])
            np.multiply(candidate, reset[step], out=row[:, 2 * size :])
            carried *= update[step]
            torch.mm(rows[step], weight, out=work_tensor)
            carried += work
        flat = torch.from_numpy(inner).flatten(end_dim=1)
        to_weight = flat.t() @ ctx.saved_tensors[0][:-1].flatten(end_dim=1)
        to_projected = np.concatenate([inner[..., : 2 * size], outer], axis=-1)
        return torch.from_numpy(to_projected), torch.from_numpy(carried), to_weight, flat.sum(0)

"""A second device without one: tensors on ``meta`` whose numbers are kept on the CPU.

What fails on a GPU fails here too: operations on tensors of two devices, generators of another
device than that of the numbers drawn, and arrays of NumPy that share memory with a tensor. The
numbers are the CPU's, so a run gives the results that it gives there.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import importlib
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

NAME = "meta"
_DEVICE, _GENERATOR = torch.device(NAME), torch.Generator
_COPIES = ("aten::copy_", "aten::_to_copy")
_INDEXED = ("aten::index", "aten::index_put", "aten::index_put_", "aten::_index_put_impl_")


class RemoteTensor(torch.Tensor):
    """A tensor that says it is on the other device; ``held`` has its numbers."""

    held: torch.Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, held: torch.Tensor) -> RemoteTensor:
        made: RemoteTensor = torch.Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls,
            held.size(),
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device=_DEVICE,
        )
        made.held = held
        return made

    @classmethod
    def __torch_dispatch__(
        cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        return _dispatched(func, args, kwargs or {})


class RemoteGenerator(_GENERATOR):
    """Stands for :class:`torch.Generator`: the other device's draws as the CPU's does."""

    remote: ClassVar[dict[int, RemoteGenerator]] = {}  # kept, so that no address is used twice

    def __new__(cls, device: Any = "cpu") -> RemoteGenerator:
        remote = torch.device(device).type == NAME
        made: RemoteGenerator = super().__new__(cls, device="cpu" if remote else device)
        if remote:
            cls.remote[made._cdata] = made
        return made

    def __init__(self, device: Any = "cpu") -> None:
        pass

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        return _device_of(self)


def _device_of(generator: torch.Generator) -> torch.device:
    """The device of a generator, which PyTorch hands on as another object."""
    remote = generator._cdata in RemoteGenerator.remote  # type: ignore[attr-defined]
    return _DEVICE if remote else _GENERATOR.device.__get__(generator)


def _dispatched(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Call an operation on the numbers held, if a GPU could do it with tensors placed like these.

    Raises:
        RuntimeError: Tensors or a generator on different devices.
    """
    name, leaves = func._schema.name, tree_leaves((args, kwargs))
    remote = [leaf for leaf in leaves if isinstance(leaf, RemoteTensor)]
    arrays = [leaf for leaf in leaves if isinstance(leaf, torch.Tensor) and leaf.dim() > 0]
    device = kwargs.get("device")
    if device is not None:
        to_remote = torch.device(device).type == NAME
    elif name in (*_COPIES, *_INDEXED):
        to_remote = isinstance(args[0], RemoteTensor)
    else:
        to_remote = bool(remote)
    if name in _INDEXED:  # a GPU takes indices from the CPU, not the other way round
        arrays = [a for a in (args[0], *args[2:3]) if isinstance(a, torch.Tensor) and a.dim() > 0]
        arrays += remote
    if name not in _COPIES and len({isinstance(array, RemoteTensor) for array in arrays}) > 1:
        shapes = [(tuple(a.shape), a.device.type) for a in arrays]
        raise RuntimeError(f"{name}: tensors on two devices: {shapes}")
    for leaf in leaves:
        if isinstance(leaf, _GENERATOR) and (_device_of(leaf) == _DEVICE) != to_remote:
            raise RuntimeError(f"{name}: a generator on {_device_of(leaf)} draws elsewhere")
    plain_args, plain_kwargs = tree_map(_held, (args, kwargs))
    if device is not None and to_remote:
        plain_kwargs["device"] = torch.device("cpu")
    given = {id(tensor.held): tensor for tensor in remote}

    def placed(result: Any) -> Any:
        if not isinstance(result, torch.Tensor):
            return result
        return given.get(id(result), RemoteTensor(result) if to_remote else result)

    return tree_map(placed, func(*plain_args, **plain_kwargs))


def _held(value: Any) -> Any:
    return value.held if isinstance(value, RemoteTensor) else value


class _Operations(TorchDispatchMode):
    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        return _dispatched(func, args, kwargs or {})


class _Constructors(TorchFunctionMode):
    """What PyTorch makes of Python's numbers on ``meta`` has none: make it on the CPU first."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if func is torch.Tensor.tolist and isinstance(args[0], RemoteTensor):
            return args[0].detach().cpu().tolist()
        if func not in (torch.tensor, torch.as_tensor):
            return func(*args, **kwargs)
        device = kwargs.pop("device", None)
        made = func(*args, **kwargs)
        return made if device is None else made.to(device)


@contextlib.contextmanager
def emulated_device(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The name of a device that works within the context, in threads of executors too."""
    submit = concurrent.futures.ThreadPoolExecutor.submit

    def submitted(self: Any, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        def inside() -> Any:
            with _Constructors(), _Operations():
                return function(*args, **kwargs)

        return submit(self, inside)

    apply = torch.nn.Module._apply

    def moved(self: torch.nn.Module, function: Any, recurse: bool = True) -> torch.nn.Module:
        before = torch.__future__.get_swap_module_params_on_conversion()
        torch.__future__.set_swap_module_params_on_conversion(True)  # no `.data` across classes
        try:
            return apply(self, function, recurse)
        finally:
            torch.__future__.set_swap_module_params_on_conversion(before)

    with monkeypatch.context() as patch:
        patch.setattr(torch, "Generator", RemoteGenerator)
        for module in ("torch.optim.optimizer", "torch.optim.adam"):  # hidden by functions
            patch.setattr(
                importlib.import_module(module),
                "_get_fused_kernels_supported_devices",
                lambda: ["cuda", "cpu", NAME],
                raising=False,  # where an optimizer asks differs between versions of PyTorch
            )
        patch.setattr(concurrent.futures.ThreadPoolExecutor, "submit", submitted)
        patch.setattr(torch.nn.Module, "_apply", moved)
        with _Constructors(), _Operations():
            yield NAME

"""Compilation of a system's network by torch.compile; its parameters stay as they are."""

from __future__ import annotations

from collections.abc import Callable
from types import MethodType
from typing import Any

import torch

from mambaad.errors import ConfigError
from mambaad.inference.compute import Compilation, check_device
from mambaad.models.system import System


def find_device(name: str) -> torch.device:
    """Find a device by name (``cpu``, ``cuda``, ``cuda:1``, ...).

    Raises:
        ConfigError: an invalid name, or a device that is not available.
    """
    try:
        device = torch.device(check_device(name))
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # AssertionError: PyTorch without CUDA
        reason = str(error).splitlines()[0]
        raise ConfigError(
            f"--device: '{name}' is not available ({reason}); give cpu or another GPU"
        ) from error
    return device


def compile_system(system: System, how: Compilation) -> None:
    """Compile ``forward``, ``reconstruct`` and the encoder; names of weights do not change.

    Each becomes one graph (``fullgraph=True``). Random choices, such as DropPath's, are the same as
    without compilation, so that runs compare.

    Args:
        system: on any device, in train or eval mode; changed in place.
        how: ``"off"`` changes nothing; ``"default"`` compiles to kernels; ``"cuda-graphs"`` also
            records them for each shape, and replays them as one launch (on a GPU; elsewhere the
            same as ``"default"``). Call :func:`begin_step` before each step then; a step overwrites
            the tensors that the last one returned.
    """
    if how == "off":
        return
    options = {"fallback_random": True, "triton.cudagraphs": how == "cuda-graphs"}
    for module, name in ((system, "forward"), (system, "reconstruct"), (system.encoder, "forward")):
        plain = getattr(type(module), name)
        compiled: Any = torch.compile(plain, fullgraph=True, options=dict(options))
        if how == "cuda-graphs":
            compiled = _with_warm_up(plain, compiled)
        # Bound as a method, as the original is: Fabric inspects it.
        setattr(module, name, MethodType(compiled, module))


def _with_warm_up(plain: Callable[..., Any], compiled: Callable[..., Any]) -> Any:
    """Run ``plain`` once for each new shape before ``compiled`` records it.

    Tensors that are made once and cached, such as order tables, must not lie in a graph's private
    memory. Eval mode, so that the extra run changes no state.
    """
    seen: set[Any] = set()

    def call(module: torch.nn.Module, given: Any) -> Any:
        tensors = [given] if isinstance(given, torch.Tensor) else list(given)
        shapes = tuple((tuple(t.shape), t.device) for t in tensors)
        if shapes not in seen and not torch.compiler.is_compiling():
            modes = {part: part.training for part in module.modules()}
            with torch.no_grad():
                plain(module.eval(), given)
            for part, mode in modes.items():
                part.training = mode
            seen.add(shapes)
        return compiled(module, given)

    return call


def begin_step(how: Compilation) -> None:
    """Declare that the tensors of the last step are no longer read (CUDA graphs only)."""
    if how == "cuda-graphs":
        torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]

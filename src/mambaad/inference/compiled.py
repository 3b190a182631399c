"""A system's network as code that torch.compile makes for it; its parameters stay as they are."""

from __future__ import annotations

from collections.abc import Callable
from types import MethodType
from typing import Any, Literal, get_args

import torch

from mambaad.errors import ConfigError
from mambaad.models.system import System

Compilation = Literal["off", "default", "cuda-graphs"]


def find_device(name: str) -> torch.device:
    """The device of that name, if this machine has it.

    Raises:
        ConfigError: it has not, or there is no such name.
    """
    try:
        device = torch.device(name)
        if device.type not in ("cpu", "cuda"):
            raise RuntimeError("no such kind is known here")
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # the latter: PyTorch without CUDA
        reason = str(error).splitlines()[0]
        raise ConfigError(f"--device: '{name}' is not here ({reason}); give cpu or cuda") from error
    return device


def check_compilation(how: str) -> Compilation:
    """Refuse a way to compile that there is not (ConfigError)."""
    for known in get_args(Compilation):
        if how == known:
            return how  # type: ignore[return-value]
    raise ConfigError(f"--compile: expected one of {', '.join(get_args(Compilation))}, got '{how}'")


def compile_system(system: System, how: Compilation) -> None:
    """Have ``forward``, ``reconstruct`` and the encoder run compiled; names of weights stay.

    Each as one graph (``fullgraph=True``). What is random, as DropPath's choice, is what it is
    without compilation, so that runs compare.

    Args:
        system: on any device, in train or eval mode; changed in place.
        how: ``"off"`` leaves it; ``"default"`` has PyTorch's compiler make kernels;
            ``"cuda-graphs"`` also records them per shape, and replays them as one launch (on a GPU;
            nothing more than ``"default"`` elsewhere). Then :func:`begin_step` goes before each
            step, and what a step returns is overwritten by the next.
    """
    if how == "off":
        return
    options = {"fallback_random": True, "triton.cudagraphs": how == "cuda-graphs"}
    for module, name in ((system, "forward"), (system, "reconstruct"), (system.encoder, "forward")):
        plain = getattr(type(module), name)
        compiled: Any = torch.compile(plain, fullgraph=True, options=dict(options))
        if how == "cuda-graphs":
            compiled = _after_a_dry_run(plain, compiled)
        # A method, as the one it stands for: Fabric asks.
        setattr(module, name, MethodType(compiled, module))


def _after_a_dry_run(plain: Callable[..., Any], compiled: Callable[..., Any]) -> Any:
    """What is made once and then kept, as the order tables, must not lie in a graph's own memory.

    So everything runs once uncompiled before it is recorded, for each shape, in eval mode, which
    leaves no trace.
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
    """Say that nobody reads any more what the step before returned."""
    if how == "cuda-graphs":
        torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]

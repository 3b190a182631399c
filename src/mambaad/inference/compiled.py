"""Compilation of a system's network by torch.compile; its parameters stay as they are."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from types import MethodType
from typing import Any, TypeVar

import torch

from mambaad.errors import MambaADError
from mambaad.inference.compute import Compilation
from mambaad.inference.device import first_line, is_lost, is_out_of_memory
from mambaad.models.system import System
from mambaad.progress import say

_COMPILED = "_is_compiled"
Result = TypeVar("Result")


def choose_compilation(how: Compilation, device: torch.device, devices: int = 1) -> Compilation:
    """Replace ``"auto"``: ``"cuda-graphs"`` on one GPU, ``"off"`` elsewhere."""
    if how != "auto":
        return how
    return "cuda-graphs" if device.type == "cuda" and devices == 1 else "off"


def compile_for_inference(system: System, how: Compilation) -> None:
    """Compile ``forward``, as :func:`compile_for_training` does the parts of a training step."""
    _compile(system, system, "forward", how)


def compile_for_training(system: System, how: Compilation) -> None:
    """Compile ``reconstruct`` and the encoder; names of weights do not change.

    Each becomes one graph (``fullgraph=True``). Random choices, such as DropPath's, are the same as
    without compilation, so that runs compare.

    Args:
        system: on any device, in train or eval mode; changed in place.
        how: ``"off"`` changes nothing; ``"default"`` compiles to kernels; ``"cuda-graphs"`` also
            records them for each shape, and replays them as one launch (on a GPU; elsewhere the
            same as ``"default"``). Call :func:`begin_step` before each step then; a step overwrites
            the tensors that the last one returned. Not ``"auto"``.
    """
    _compile(system, system, "reconstruct", how)
    _compile(system, system.encoder, "forward", how)


def is_compiled(system: System) -> bool:
    """Whether a system is compiled, in whole or in part."""
    return bool(vars(system).get(_COMPILED))


def or_plain(system: System, work: Callable[[], Result], *, on_no_memory: bool = True) -> Result:
    """Do some work with a system; if its compiled form fails, use the plain one from there on.

    A line says so. ``work`` is then done again from the start (so that a step of training may count
    twice in a batch norm's statistics).

    Args:
        system: compiled or not.
        work: what to do with it.
        on_no_memory: whether too little memory is a failure of the compiled form too: a recorded
            graph keeps memory of its own.

    Raises:
        Exception: what the plain form raises, or a GPU that failed.
    """
    if not is_compiled(system):
        return work()
    try:
        return work()
    except Exception as error:  # of the compiler, of the recording, or of the network itself
        if isinstance(error, MambaADError) or is_lost(error):
            raise
        if is_out_of_memory(error) and not on_no_memory:
            raise
        reason = first_line(error)
    _undo(system)
    say(f"torch.compile failed ({reason}); continuing without it (--compile off)")
    return work()


def begin_step(how: Compilation) -> None:
    """Declare that the tensors of the last step are no longer read (CUDA graphs only)."""
    if how == "cuda-graphs":
        torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]


def _compile(system: System, module: torch.nn.Module, name: str, how: Compilation) -> None:
    if how == "off":
        return
    options: dict[str, Any] = {"fallback_random": True, "triton.cudagraphs": how == "cuda-graphs"}
    plain = getattr(type(module), name)
    # Of each shape its own graph: they are few, and faster than one for all.
    compiled: Any = torch.compile(plain, fullgraph=True, dynamic=False, options=options)
    if how == "cuda-graphs":
        compiled = _with_warm_up(plain, compiled)
    # Bound as a method, as the original is: Fabric inspects it.
    setattr(module, name, MethodType(compiled, module))
    setattr(system, _COMPILED, True)


def _with_warm_up(plain: Callable[..., Any], compiled: Callable[..., Any]) -> Any:
    """Run ``plain`` once for each new shape before ``compiled`` records it.

    Tensors that are made once and cached, such as order tables, must not lie in a graph's private
    memory. Eval mode, so that the extra run changes no state.
    """
    seen: set[Any] = set()

    def call(module: torch.nn.Module, given: Any) -> Any:
        tensors = [given] if isinstance(given, torch.Tensor) else list(given)
        shapes = tuple((tuple(t.shape), t.device) for t in tensors)
        if shapes not in seen:
            modes = {part: part.training for part in module.modules()}
            with torch.no_grad():
                plain(module.eval(), given)
            for part, mode in modes.items():
                part.training = mode
            seen.add(shapes)
        return compiled(module, given)

    return call


def _undo(system: System) -> None:
    for module, name in (
        (system, "forward"),
        (system, "reconstruct"),
        (system.encoder, "forward"),
    ):
        vars(module).pop(name, None)
    setattr(system, _COMPILED, False)
    with contextlib.suppress(Exception):  # older releases cannot in a thread of its own
        torch.compiler.reset()
    device = next(system.parameters()).device
    if device.type == "cuda":
        # A recording that failed leaves the random state as if it still went on, and whatever
        # draws from it would raise: a new one takes its place.
        with contextlib.suppress(AttributeError, RuntimeError):
            torch.cuda.synchronize(device)
            generator: Any = torch.cuda.default_generators[device.index or 0]
            generator.graphsafe_set_state(torch.Generator(device))

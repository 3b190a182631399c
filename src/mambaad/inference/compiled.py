"""Compilation of a system's network by torch.compile; its parameters stay as they are."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from types import MethodType
from typing import Any, TypeVar

import torch

from mambaad.errors import MambaADError
from mambaad.inference.compute import Compilation
from mambaad.inference.device import first_line, is_lost
from mambaad.inference.recorded import Recorder
from mambaad.models.system import System
from mambaad.process import is_out_of_memory
from mambaad.progress import warn

_COMPILED = "_is_compiled"
Result = TypeVar("Result")


def choose_compilation(how: Compilation, device: torch.device, devices: int = 1) -> Compilation:
    """Replace ``"auto"``: ``"cuda-graphs"`` on one GPU, ``"off"`` elsewhere."""
    if how != "auto":
        return how
    return "cuda-graphs" if device.type == "cuda" and devices == 1 else "off"


def is_recorded(how: Compilation, device: torch.device, devices: int = 1) -> bool:
    """Whether the network's kernels are recorded (:mod:`mambaad.inference.recorded`)."""
    return how in ("default", "cuda-graphs") and device.type == "cuda" and devices == 1


def compile_for_inference(system: System, how: Compilation) -> None:
    """Compile ``forward`` if ``how`` is ``"default"``; see :func:`compile_for_training`."""
    if how == "default":
        _compile(system, system, "forward")


def compile_for_training(system: System, how: Compilation) -> None:
    """Compile ``reconstruct`` and the encoder; names of weights do not change.

    Each becomes one graph (``fullgraph=True``). Random choices, such as DropPath's, are the same as
    without compilation, so that runs compare.

    Args:
        system: on any device, in train or eval mode; changed in place.
        how: ``"default"`` compiles, which takes minutes; the others change nothing.
    """
    if how == "default":
        _compile(system, system, "reconstruct")
        _compile(system, system.encoder, "forward")


def is_compiled(system: System) -> bool:
    """Whether a system is compiled, in whole or in part."""
    return bool(vars(system).get(_COMPILED))


def or_plain(
    system: System,
    work: Callable[[], Result],
    *recorders: Recorder,
    on_no_memory: bool = True,
) -> Result:
    """Do some work with a system; if its compiled form fails, use the plain one from there on.

    A line says so. ``work`` is then done again from the start (so that a step of training may count
    twice in a batch norm's statistics).

    Args:
        system: compiled or not.
        work: what to do with it.
        recorders: which have recorded its compiled form.
        on_no_memory: whether too little memory is a failure of the compiled form too.

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
    for recorder in recorders:
        recorder.forget()
    warn(f"torch.compile failed ({reason}); continuing without it (--compile off)")
    return work()


def _compile(system: System, module: torch.nn.Module, name: str) -> None:
    plain = getattr(type(module), name)
    # Of each shape its own graph: they are few, and faster than one for all.
    compiled: Any = torch.compile(
        plain, fullgraph=True, dynamic=False, options={"fallback_random": True}
    )
    # Bound as a method, as the original is: Fabric inspects it.
    setattr(module, name, MethodType(compiled, module))
    setattr(system, _COMPILED, True)


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

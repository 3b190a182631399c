"""The engine of exported models: a runtime's session, and observations made of its outputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
from jaxtyping import UInt8

from mambaad.artifacts.export_folder import GRAPHS, RUNTIMES, ExportManifest, Target
from mambaad.artifacts.snapshot import Snapshot
from mambaad.data.read_ahead import reader_threads
from mambaad.errors import ConfigError, MambaADError, RunError
from mambaad.inference.engine import Evidence, Observation
from mambaad.inference.exported.kernel import Kernel, kernel_choice
from mambaad.inference.exported.one_line import one_line

if TYPE_CHECKING:  # it imports PyTorch
    from mambaad.models.system import System


@runtime_checkable
class Session(Protocol):
    """A graph that a runtime has loaded."""

    def run(self, images: UInt8[np.ndarray, "b h w 3"]) -> Mapping[str, np.ndarray]:
        """Compute the outputs of the graph for 8-bit RGB images, float32, by name.

        Args:
            images: at the size that the graph was exported for.
        """


def _onnx(files: Mapping[str, bytearray], kernel: Kernel | None) -> Session:
    from mambaad.inference.exported.onnx_session import OnnxSession

    return OnnxSession(files["model.onnx"], kernel)


def _openvino(files: Mapping[str, bytearray], kernel: Kernel | None) -> Session:
    from mambaad.inference.exported.openvino_session import OpenVinoSession

    return OpenVinoSession(files, kernel)


def _program(files: Mapping[str, bytearray], kernel: Kernel | None) -> Session:
    try:
        from mambaad.inference.exported.program_session import ProgramSession
    except ImportError as error:  # mambaad-runtime has no PyTorch
        raise ConfigError(
            f"this export is run by PyTorch, and this installation has none ({error}); export the "
            "model for another runtime, or install mambaad"
        ) from error

    return ProgramSession(files["model.pt2"])


SESSIONS: dict[Target, Callable[[Mapping[str, bytearray], Kernel | None], Session]] = {
    "onnx": _onnx,
    "openvino": _openvino,
    "torch-export": _program,
}
"""From the files of a graph, and how its operator is to run if it has one, to a session."""


def start(target: Target, files: Mapping[str, bytearray], kernel: Kernel | None) -> Session:
    """Load a graph into its runtime.

    Args:
        target: of the export.
        files: the contents of :data:`mambaad.artifacts.export_folder.GRAPHS`, by name.
        kernel: how our operator is to run; None if the graph has none.

    Raises:
        ConfigError: the runtime is not installed, or the kernel, though it is required.
        RunError: the runtime refuses the graph.
    """
    try:
        return SESSIONS[target](files, kernel)
    except (MambaADError, MemoryError):
        raise
    except Exception as error:  # every runtime has errors of its own
        runtime = RUNTIMES[target]
        raise RunError(f"{runtime} cannot load the exported model ({one_line(error)})") from error


class ExportedEngine:
    """An exported model on a CPU (an :class:`mambaad.inference.engine.Engine`).

    Args:
        session: of its runtime.
        manifest: of the export.
        keep_evidence: give observations their evidence.
    """

    def __init__(
        self, session: Session, manifest: ExportManifest, *, keep_evidence: bool = False
    ) -> None:
        self.device = "cpu"
        self.batch_size = 1
        self.trained: System | None = None
        self.size = (manifest.preprocessing.height, manifest.preprocessing.width)
        self.reads_ahead = reader_threads(False)
        self.session = session
        self._manifest = manifest
        self._keeps_evidence = keep_evidence

    def observe(self, images: UInt8[np.ndarray, "b h w 3"]) -> list[Observation]:
        """See :meth:`mambaad.inference.engine.Engine.observe`.

        Raises:
            RunError: the runtime fails.
        """
        # One by one: in a larger batch a runtime may sum in another order.
        return [self._observe(images[i : i + 1]) for i in range(len(images))]

    def _observe(self, image: UInt8[np.ndarray, "1 h w 3"]) -> Observation:
        runtime = RUNTIMES[self._manifest.target]
        try:
            found = self.session.run(image)
        except Exception as error:  # every runtime has errors of its own
            raise RunError(
                f"{runtime} cannot run the exported model ({one_line(error)})"
            ) from error
        for name, shape in (("score", (1,)), ("anomaly_map", (1, *self.size))):
            if name not in found or found[name].shape != shape:
                raise RunError(
                    f"{runtime} gives no '{name}' of shape {shape} for the exported model, so it "
                    "is none of mambaad's; export the model again"
                )
        evidence = None
        if self._keeps_evidence:
            strides, smoothing = tuple(self._manifest.strides), self._manifest.smoothing
            evidence = Evidence(
                found["scale_maps"][0].copy(), strides, smoothing, found["embedding"][0].copy()
            )
        return Observation(
            float(found["score"][0]),
            found["anomaly_map"][0].copy(),
            found["distances"][0].copy() if "distances" in found else np.empty(0, np.float32),
            found["error_map"][0].copy() if "error_map" in found else None,
            evidence,
        )


def load_exported(run: Snapshot, *, keep_evidence: bool = False) -> ExportedEngine:
    """Load an exported model into its runtime; nothing of it is unverified.

    Args:
        run: an open export.
        keep_evidence: give observations their evidence.

    Raises:
        ConfigError: the runtime is not installed, or our operator's kernel, though it is required.
        RunError: a damaged file, or one that the runtime cannot load.
    """
    manifest = run.export
    assert manifest is not None  # since it is an export
    files = {name: run.read(name) for name in GRAPHS[manifest.target]}
    kernel = kernel_choice() if manifest.operator else None
    try:
        session = start(manifest.target, files, kernel)
    except RunError as error:
        runtime = RUNTIMES[manifest.target]
        raise RunError(
            f"{run.source}: {error}; update {runtime}, or export the model again"
        ) from error
    return ExportedEngine(session, manifest, keep_evidence=keep_evidence)

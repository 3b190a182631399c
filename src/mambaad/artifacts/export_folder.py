"""An exported model as a folder: the graph for another runtime, and what inspection needs.

====================== ===========================================================================
``model.onnx``         with ``--to onnx``: the graph, weights included
``model.xml``, ``.bin`` with ``--to openvino``: the graph with our operator; ``plain.xml`` and
                       ``plain.bin``: the same without it
``model.pt2``          with ``--to torch-export``: the program
``config.json``        the settings of training
``data.json``          the classes, and the digests of the training images
``version.json``       the versions of what trained the model
``good_parts.*``       the products' prototypes and the range of heatmaps
``calibration.*``      once calibrated: the thresholds
``export.json``        :class:`ExportManifest`: all of these with size and SHA-256; sealed
====================== ===========================================================================

It is written whole, and not changed afterwards.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from mambaad.artifacts.manifest import CALIBRATION, CONFIG, DATA, PROTOTYPES, VERSION, ListedFile
from mambaad.artifacts.sealed import parse_unverified
from mambaad.documents import DocumentError
from mambaad.errors import RunError
from mambaad.ops.scan_operator import DOMAIN, OPERATOR
from mambaad.ops.scan_operator import VERSION as OPERATOR_VERSION

MANIFEST, FORMAT = "export.json", 1

Target = Literal["onnx", "openvino", "torch-export"]
ExportPrecision = Literal["float32", "bfloat16", "int8"]

GRAPHS: dict[Target, tuple[str, ...]] = {
    "onnx": ("model.onnx",),
    "openvino": ("model.xml", "model.bin", "plain.xml", "plain.bin"),
    "torch-export": ("model.pt2",),
}
"""The files of the graph for each target."""
RUNTIMES: dict[Target, str] = {
    "onnx": "onnxruntime",
    "openvino": "OpenVINO",
    "torch-export": "PyTorch",
}
"""The runtime of each target, as messages name it."""
NEEDED = (CONFIG, DATA, VERSION, PROTOTYPES)
ALLOWED = (*NEEDED, CALIBRATION)

_LARGEST = 8192  # pixels: of the sizes that models are trained with
_HINT = "export the model again, or copy the folder again"


class Preprocessing(BaseModel):
    """What is done to an image before it goes to the graph.

    It is decoded to 8-bit RGB, resized whole to ``height`` x ``width`` as Pillow's ``resize`` with
    ``filter`` does (antialiased), and given as ``layout`` of ``dtype``; the graph normalises it.
    """

    model_config = ConfigDict(strict=True, frozen=True)

    height: int = Field(gt=0, le=_LARGEST)
    width: int = Field(gt=0, le=_LARGEST)
    color: Literal["RGB"] = "RGB"
    filter: Literal["bilinear"] = "bilinear"
    layout: Literal["batch x height x width x 3"] = "batch x height x width x 3"
    dtype: Literal["uint8"] = "uint8"


class ExportManifest(BaseModel):
    """The content of ``export.json``.

    ``target``, ``precision``: as asked for. ``operator``: the version of our operator that the
    graph names; None if it names none. ``weights``: the SHA-256 of the weights that it was made
    of, which identifies the model in records. ``strides``, ``smoothing``: see
    :class:`mambaad.inference.engine.Evidence`. ``classes``: of the training data. ``thresholds``:
    of each calibrated class whose thresholds are of the graph's score (of the whole image, without
    tiles, regions or a minimum area; not UniAD's), for programs that read no tensors: for REVIEW
    and FAIL, and the largest distance to its prototype. ``checked``: how far the values lay from
    mambaad's own when it was exported. ``versions``: of the software that exported it.
    """

    model_config = ConfigDict(strict=True, frozen=True)

    format: int = Field(default=FORMAT, ge=FORMAT, le=FORMAT)
    target: Target
    precision: ExportPrecision
    operator: int | None = Field(ge=1)
    weights: str = Field(pattern="^[0-9a-f]{64}$")
    preprocessing: Preprocessing
    outputs: list[str]
    strides: list[int]
    smoothing: float
    classes: list[str]
    thresholds: dict[str, dict[str, float]]
    checked: dict[str, float]
    versions: dict[str, str]
    files: dict[str, ListedFile]

    @model_validator(mode="after")
    def _files_fit(self) -> ExportManifest:
        names = set(self.files)
        needed = {*NEEDED, *GRAPHS[self.target]}
        if not needed <= names <= {*needed, *ALLOWED}:
            raise ValueError("its files are not those of an export")
        return self


def is_export(folder: Path) -> bool:
    """Whether a folder holds an exported model."""
    return (folder / MANIFEST).is_file()


def parse_export(content: bytes, path: Path) -> ExportManifest:
    """Read the content of an ``export.json``.

    Raises:
        RunError: it is damaged, of a newer format, or of a model that needs another operator.
    """
    try:
        found, is_whole = parse_unverified(content, str(path))
        number = found.get("format")
        if type(number) is int and number > FORMAT:
            raise RunError(
                f"{path} has format {number}, this version reads up to {FORMAT}; update mambaad"
            )
        manifest = ExportManifest.model_validate(found)
    except (DocumentError, ValidationError) as error:
        raise RunError(f"{path} is damaged; {_HINT}") from error
    if manifest.operator not in (None, OPERATOR_VERSION):
        raise RunError(
            f"{path} needs version {manifest.operator} of the operator {DOMAIN}::{OPERATOR}, this "
            f"mambaad has version {OPERATOR_VERSION}; use the mambaad that exported it "
            f"({manifest.versions.get('mambaad', 'unknown')}), or export the model again"
        )
    if not is_whole:
        raise RunError(f"{path} is damaged: it has changed since it was made; {_HINT}")
    return manifest

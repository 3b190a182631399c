"""Pictures for the pages: images as browsers show them, heatmaps as layers, thumbnails."""

from __future__ import annotations

import io
from typing import Annotated

from fastapi import APIRouter, Depends
from fastapi.responses import FileResponse, Response
from PIL import Image

from mambaad.inspection.overlay import heatmap_layer
from mambaad.serve.drawing import read_map
from mambaad.serve.inference.worker import read_pixels
from mambaad.serve.page.errors import PageRoute
from mambaad.serve.page.page import Page, page_for
from mambaad.serve.problems import Problem
from mambaad.serve.store.queries import Row

router = APIRouter(include_in_schema=False, route_class=PageRoute)
ForViewers = Annotated[Page, Depends(page_for("viewer"))]
_KINDS = {"PNG": "image/png", "JPEG": "image/jpeg", "WEBP": "image/webp", "BMP": "image/bmp"}
_CACHED = {"Cache-Control": "private, max-age=86400, immutable"}  # a part never changes


def _row(page: Page, inspection_id: str) -> Row:
    row = page.parts.store.inspection(inspection_id)
    if row is None:
        raise Problem(404, "not_found", f"there is no inspection {inspection_id}")
    return row


@router.get("/pictures/{inspection_id}")
def picture(page: ForViewers, inspection_id: str) -> Response:
    """Give a part's image: as it came if browsers show such files, else as PNG."""
    row = _row(page, inspection_id)
    content = page.parts.images.read_image(row["sha256"], row["format"])
    if content is None:
        raise Problem(404, "gone", "the image is not kept")
    if row["format"] in _KINDS:
        return Response(content, media_type=_KINDS[row["format"]], headers=_CACHED)
    return _png(Image.fromarray(read_pixels(content, page.parts.model().reading)))


@router.get("/heatmaps/{inspection_id}")
def heatmap(page: ForViewers, inspection_id: str) -> Response:
    """Give a part's heatmap as a layer to be laid over its image."""
    found = read_map(page.parts.images.map(_row(page, inspection_id)["part_id"]))
    if found is None:
        raise Problem(404, "gone", "the heatmap is not kept")
    return _png(Image.fromarray(heatmap_layer(found.map, found.range)))


@router.get("/thumbnails/{inspection_id}")
def thumbnail(page: ForViewers, inspection_id: str) -> Response:
    """Give a part's thumbnail."""
    path = page.parts.images.thumbnail(_row(page, inspection_id)["part_id"])
    if not path.is_file():
        raise Problem(404, "gone", "the thumbnail is not kept")
    return FileResponse(path, media_type="image/jpeg", headers=_CACHED)


def _png(image: Image.Image) -> Response:
    file = io.BytesIO()
    image.save(file, "PNG", compress_level=1)
    return Response(file.getvalue(), media_type="image/png", headers=_CACHED)

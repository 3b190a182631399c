"""timm's pretrained weights: from this machine, or downloaded; without network, an early end.

The hub's client tries again for a minute, and says so in a dozen lines, where there is no network.
"""

from __future__ import annotations

import logging
import threading
import urllib.error
import urllib.request
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import timm
import torch
from huggingface_hub import constants, hf_hub_url, try_to_load_from_cache
from huggingface_hub import utils as hub_utils

from mambaad.progress import is_shown

_SECONDS = 5.0
"""How long a server may take to answer at all."""
_NAMES = ("model.safetensors", "pytorch_model.bin", "open_clip_model.safetensors")
"""Of the weights on the hub."""
_LOGGERS = ("huggingface_hub", "timm", "httpx", "urllib3")


@contextmanager
def reached(name: str) -> Iterator[None]:
    """Let timm load an architecture's pretrained weights, quietly.

    Those that are on this machine are loaded without asking the network.

    Args:
        name: a timm architecture, perhaps with a tag.

    Raises:
        ConnectionError: they are not here, and their server cannot be reached; says why.
    """
    source = _source_of(name)
    if source is not None and not constants.HF_HUB_OFFLINE:
        reason = _problem_of(source)
        if reason:
            raise ConnectionError(f"{urlsplit(source).hostname} cannot be reached: {reason}")
    levels = {logger: logging.getLogger(logger).level for logger in _LOGGERS}
    bars: Any = hub_utils
    is_offline, has_bars = constants.HF_HUB_OFFLINE, not bars.are_progress_bars_disabled()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the error says it in one line
        for logger in levels:
            logging.getLogger(logger).setLevel(logging.CRITICAL)
        constants.HF_HUB_OFFLINE = is_offline or source is None
        if has_bars and not is_shown():
            bars.disable_progress_bars()
        try:
            yield
        finally:
            constants.HF_HUB_OFFLINE = is_offline
            if has_bars:
                bars.enable_progress_bars()
            for logger, level in levels.items():
                logging.getLogger(logger).setLevel(level)


def _source_of(name: str) -> str | None:
    """The address of the weights; None if they are on this machine, or timm knows of none."""
    known: Any = timm.get_pretrained_cfg(name)
    if known is None:
        return None
    if known.hf_hub_id:
        repository, _, revision = known.hf_hub_id.partition("@")
        file = known.hf_hub_filename or _NAMES[0]
        names = (file, f"{Path(file).stem}.safetensors", *_NAMES)  # timm takes one beside it, too
        found = [try_to_load_from_cache(repository, n, revision=revision or None) for n in names]
        if any(isinstance(path, str) for path in found):
            return None
        return hf_hub_url(repository, names[0], revision=revision or None)
    if not known.url:
        return None
    kept = Path(torch.hub.get_dir()) / "checkpoints" / Path(urlsplit(known.url).path).name
    return None if kept.is_file() else str(known.url)


def _problem_of(url: str) -> str | None:
    """Say why a server cannot be reached; None if it answers in time, whatever it answers."""
    found: list[str | None] = [f"no answer within {_SECONDS:g} s"]

    def ask() -> None:
        found[0] = _ask(url)

    # By a thread, since a name is looked up without a limit of time.
    thread = threading.Thread(target=ask, name="reach", daemon=True)
    thread.start()
    thread.join(_SECONDS)
    return found[0]


def _ask(url: str) -> str | None:
    try:
        request = urllib.request.Request(url, method="HEAD")
        urllib.request.urlopen(request, timeout=_SECONDS).close()
    except urllib.error.HTTPError as error:
        return f"it answers {error.code}" if error.code >= 500 else None
    except urllib.error.URLError as error:
        # Who trusts other certificates than this library may still reach it.
        reason: Any = error.reason
        is_certificate = "CERTIFICATE" in str(reason)
        return None if is_certificate else getattr(reason, "strerror", None) or str(reason)
    except (OSError, ValueError) as error:
        return getattr(error, "strerror", None) or str(error) or type(error).__name__
    return None

"""Finds and loads libsandbox."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

NAME = "libsandbox.so.0"


def candidates() -> list[str]:
    """Where the library may be, best first: ``$SANDBOX_LIBRARY``, inside this package, as the system's loader finds it."""
    asked = os.environ.get("SANDBOX_LIBRARY")
    if asked:
        return [asked]
    return [str(Path(__file__).resolve().parent / "_native" / NAME), NAME]


def load() -> tuple[ctypes.CDLL, ctypes.PyDLL]:
    """The library twice: for calls that may wait (the GIL is released meanwhile), and for those that never do.

    Raises ImportError that says where it was looked for.
    """
    failures = []
    for path in candidates():
        if os.sep in path and not os.path.exists(path):
            failures.append(f"{path}: no such file")
            continue
        try:
            waits = ctypes.CDLL(path)
        except OSError as error:
            failures.append(str(error))
            continue
        return waits, ctypes.PyDLL(path, handle=waits._handle)
    raise ImportError(
        "sandbox: the native library was not found; set SANDBOX_LIBRARY to the path of libsandbox.so, or install a wheel "
        "that holds it. Tried: " + "; ".join(failures)
    )

"""Puts the native library and its two helper programs into the wheel.

They come from a build of the whole project (cmake --build, targets sandbox_shared, sandbox-agent and sandbox-launcher), which
$SANDBOX_BUILD_DIR names, or ``build-dir`` in ``[tool.hatch.build.targets.wheel.hooks.custom]``.
"""

from __future__ import annotations

import os
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

PARTS = {
    "lib/libsandbox.so.0": "libsandbox.so.0",
    "bin/sandbox-agent": "sandbox-agent",
    "bin/sandbox-launcher": "sandbox-launcher",
}


class NativeParts(BuildHookInterface):
    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "editable":
            return  # works on the tree; $SANDBOX_LIBRARY says where the library is
        asked = self.config.get("build-dir") or os.environ.get("SANDBOX_BUILD_DIR")
        if not asked:
            raise RuntimeError(
                "set SANDBOX_BUILD_DIR to a build directory of the project: its library goes into the wheel"
            )
        for source, name in PARTS.items():
            path = Path(asked, source).resolve()
            if not path.is_file():
                raise RuntimeError(
                    f"{path} is not there: build sandbox_shared, sandbox-agent and sandbox-launcher first"
                )
            build_data["force_include"][str(path)] = f"sandbox/_native/{name}"
        # Nothing of CPython's own interface is in it, so that one wheel is for every version; it is for this system though.
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{sysconfig.get_platform().replace('-', '_').replace('.', '_')}"

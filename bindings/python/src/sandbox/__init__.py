"""Isolated environments for untrusted commands, in this process (Runtime) or behind a daemon (Client).

What is here is for asyncio::

    async with Runtime.open() as runtime, runtime.create() as box:
        print((await box.process.exec("echo hello")).stdout_text)

``sandbox.sync`` has the same names for code that blocks::

    with sandbox.sync.Runtime.open() as runtime, runtime.create() as box:
        print(box.process.exec("echo hello").stdout_text)
"""

from . import aio, errors, values
from ._abi import version as _version
from ._bases import generate_signing_key
from .aio import *  # noqa: F403
from .errors import *  # noqa: F403
from .values import *  # noqa: F403

__version__: str = _version().decode()
"""Of the native library, which this package is a face of."""

__all__ = ["generate_signing_key"]
__all__ += aio.__all__
__all__ += errors.__all__
__all__ += values.__all__

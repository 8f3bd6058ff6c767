"""The asyncio face. Its names are those of ``sandbox`` itself; the blocking ones are in ``sandbox.sync``."""

from .client import Client
from .env import Env
from .fs import Fs
from .net import Net
from .process import Process, RunningProcess
from .runtime import Runtime
from .sandbox import Sandbox
from .streams import EventStream, FileReader, FileWriter, Watch

__all__ = [
    "Client",
    "Env",
    "EventStream",
    "FileReader",
    "FileWriter",
    "Fs",
    "Net",
    "Process",
    "RunningProcess",
    "Runtime",
    "Sandbox",
    "Watch",
]

"""The blocking face: the names of ``sandbox`` itself, for threads. The GIL is free while a call waits, and Ctrl-C ends it."""

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

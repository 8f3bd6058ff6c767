"""What the CLI tests share: running sbx, and looking for what a run left behind."""
import os
import pathlib
import subprocess
import tempfile
import time
import unittest

SBX = os.environ.get('SBX', 'sbx')
# On a host that cannot enforce every limit (rootless), the tests say so instead of failing at the first create.
LIMITS = ['--allow-unenforced-limits'] if os.geteuid() != 0 else []
# A daemon of this machine is none of these tests' business.
EXTRA = ['--embedded', *LIMITS]


def sbx(*arguments, stdin=subprocess.DEVNULL, timeout=60, **more):
    """Runs `sbx run …`; stdin is bytes, a file or DEVNULL."""
    if isinstance(stdin, bytes):
        more['input'] = stdin
    else:
        more['stdin'] = stdin
    return subprocess.run([SBX, 'run', *EXTRA, *arguments], capture_output=True, timeout=timeout, **more)


def command(*arguments, stdin=subprocess.DEVNULL, timeout=60, environment=None, **more):
    """Runs `sbx …`, any command. No daemon of this machine is found unless `environment` names one."""
    if isinstance(stdin, bytes):
        more['input'] = stdin
    else:
        more['stdin'] = stdin
    return subprocess.run([SBX, *arguments], capture_output=True, timeout=timeout, env={**os.environ, **(environment or {})}, **more)


def descendants(pid):
    """Processes below `pid`, as far as /proc tells."""
    children = {}
    for entry in pathlib.Path('/proc').iterdir():
        if not entry.name.isdigit():
            continue
        try:
            fields = (entry / 'stat').read_text().rsplit(')', 1)[1].split()
        except OSError:
            continue
        children.setdefault(int(fields[1]), []).append(int(entry.name))
    found, todo = [], [pid]
    while todo:
        for child in children.get(todo.pop(), []):
            found.append(child)
            todo.append(child)
    return found


def start_time(pid):
    try:
        return pathlib.Path(f'/proc/{pid}/stat').read_text().rsplit(')', 1)[1].split()[19]
    except OSError:
        return None


def family(pid):
    """The processes below `pid`, each with its start time: a number alone may be another's later. Who ended meanwhile is not among them."""
    known = [(child, start_time(child)) for child in descendants(pid)]
    return [(child, started) for child, started in known if started]


def survivors(processes, seconds=20):
    """Who of a family() is still there, as /proc describes it, when it did not end within that time."""
    def there():
        return [pid for pid, started in processes if start_time(pid) == started]
    wait_until(lambda: not there(), seconds)
    return [describe(pid) for pid in there()]


def describe(pid):
    def read(name):
        try:
            return (pathlib.Path('/proc') / str(pid) / name).read_text()
        except OSError as error:
            return str(error)
    stat = read('stat')
    return f"{stat[:stat.rfind(')') + 12]} {read('cmdline')[:80]!r} in {read('wchan')}"


def wait_until(condition, seconds=10):
    """Polls for an outside effect that gives no notice; returns whether it came."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.01)
    return condition()


class Case(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory(prefix='sbx-test-')
        self.addCleanup(self.folder.cleanup)
        self.path = pathlib.Path(self.folder.name)

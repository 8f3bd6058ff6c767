"""Tells every story of tests/conformance/scenarios through the asyncio face.

usage: run.py [--environments a,b] [--filter prefix] DIRECTORY

$SANDBOX_BIN_DIR holds the helper programs and sandboxd. The lines that are printed go to $SANDBOX_SCENARIO_REPORT, too.
"""

from __future__ import annotations

import argparse
import asyncio
import inspect
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

import file_operations  # noqa: F401  (adds its operations)
from operations import Result, RunningProgram, call
from values import StoryError, mismatch, resolve, show

import sandbox
from daemon import Daemon

ENVIRONMENTS = ("embedded", "daemon", "sealed")
STORY_TIME = 60.0
STORY_KEYS = {"name", "about", "environments", "spec", "steps"}
STEP_KEYS = {"do", "args", "on", "save", "expect", "error", "within_ms"}


class Report:
    def __init__(self) -> None:
        path = os.environ.get("SANDBOX_SCENARIO_REPORT")
        self._file: TextIO | None = open(path, "w", encoding="utf-8") if path else None

    def line(self, text: str) -> None:
        text = text.replace("\n", " ")
        for target in (sys.stdout, self._file):
            if target is not None:
                print(text, file=target, flush=True)


class Story:
    """One story under way: its names, and what it made."""

    def __init__(self, host: sandbox.Runtime | sandbox.Client, sealed: bool, scratch: str) -> None:
        self.host = host
        self.sealed = sealed
        self.scratch = scratch
        self.sandboxes: list[sandbox.Sandbox] = []
        self.things: list[Callable[[], Any]] = []

    @property
    def client(self) -> sandbox.Client:
        if not isinstance(self.host, sandbox.Client):
            raise StoryError("this operation needs a daemon")
        return self.host

    async def run(self, told: dict[str, Any]) -> None:
        names: dict[str, Result] = {}
        if told.get("spec", {}) is not None:
            args = resolve(told.get("spec", {}), self._lookup(names))
            names["box"] = await call("create", None, self, args)
        await self._steps(told["steps"], names)

    async def _steps(self, steps: list[dict[str, Any]], names: dict[str, Result]) -> None:
        for number, step in enumerate(steps, 1):
            if unknown := step.keys() - STEP_KEYS:
                raise StoryError(f"step {number}: unknown key {min(unknown)}")
            end = time.monotonic() + step.get("within_ms", 0) / 1000
            while True:
                try:
                    await self._step(step, names)
                    break
                except (StoryError, sandbox.SandboxError) as error:
                    if time.monotonic() >= end:
                        raise StoryError(f"step {number} {step['do']}: {error}") from error
                    await asyncio.sleep(0.01)

    async def _step(self, step: dict[str, Any], names: dict[str, Result]) -> None:
        if step["do"] == "parallel":
            await self._parallel(names, **step["args"])
            return
        on = step.get("on", "box")
        args = resolve(step.get("args", {}), self._lookup(names))
        try:
            subject = names[on].thing if on in names else None
            result = await call(step["do"], subject, self, args)
        except sandbox.SandboxError as error:
            if "error" not in step:
                raise
            self._expect_error(error, step["error"])
            return
        if "error" in step:
            raise StoryError(f"worked, wanted the error {show(step['error'])}")
        for field, matcher in step.get("expect", {}).items():
            if field not in result.fields:
                raise StoryError(f"unknown field {field}")
            why = mismatch(result.fields[field], resolve(matcher, self._lookup(names)))
            if why is not None:
                raise StoryError(f"{field} {why}")
        if step["do"] == "process.free":
            del names[on]
        if isinstance(result.thing, RunningProgram):
            self.things.append(result.thing.process.close)
        elif result.thing is not None and not isinstance(result.thing, sandbox.Sandbox):
            self.things.append(result.thing.close)
        if "save" in step:
            names[step["save"]] = result

    async def _parallel(self, names: dict[str, Result], branches: list[list[dict[str, Any]]], times: int = 1) -> None:
        runs = []
        for index in range(times):
            for branch in branches:
                own = dict(names)
                own["index"] = Result({"": index})
                runs.append(asyncio.ensure_future(self._steps(branch, own)))
        try:
            await asyncio.gather(*runs)
        finally:
            for run in runs:
                run.cancel()
            await asyncio.gather(*runs, return_exceptions=True)

    def _expect_error(self, error: sandbox.SandboxError, wanted: Any) -> None:
        facts = {
            "code": error.code.label,
            "message": error.message,
            "operation": error.operation,
            "errno": error.sys_errno,
            "retry": error.retry.name.lower(),
        }
        for name, matcher in ({"code": wanted} if isinstance(wanted, str) else wanted).items():
            if name not in facts:
                raise StoryError(f"an error has no {name}")
            why = mismatch(facts[name], matcher)
            if why is not None:
                raise StoryError(f"{name} of the error {why} ({error})")

    def _lookup(self, names: dict[str, Result]) -> Callable[[str], Any]:
        def lookup(reference: str) -> Any:
            if reference == "scratch":
                return self.scratch
            name, _, field = reference.partition(".")
            if name not in names or field not in names[name].fields:
                raise StoryError(f"there is no {reference}")
            return names[name].fields[field]

        return lookup

    async def clean_up(self) -> None:
        for give_back in reversed(self.things):
            try:
                done = give_back()
                if inspect.isawaitable(done):
                    await done
            except sandbox.SandboxError:  # it was closed, or went with its sandbox
                pass
        for box in self.sandboxes:
            if not box.closed:
                try:
                    await box.close()
                except sandbox.NotFoundError:  # removed by its id
                    pass


async def tell(told: dict[str, Any], host: sandbox.Runtime | sandbox.Client, sealed: bool) -> str | None:
    """Why the story failed, or None."""
    with tempfile.TemporaryDirectory(prefix="sandbox-scenario-") as scratch:
        story = Story(host, sealed, scratch)
        try:
            if unknown := told.keys() - STORY_KEYS:
                raise StoryError(f"unknown key {min(unknown)}")
            await asyncio.wait_for(story.run(told), STORY_TIME)
        except asyncio.TimeoutError:
            return f"it takes longer than {STORY_TIME:.0f} s"
        except (StoryError, sandbox.SandboxError) as error:
            return str(error)
        except Exception as error:  # a defect of the binding or of this runner
            return f"{type(error).__name__}: {error}"
        finally:
            await story.clean_up()
    return None


async def tell_all(
    report: Report, environment: str, host: sandbox.Runtime | sandbox.Client, directory: Path, prefix: str
) -> int:
    """How many failed."""
    counts = {"ok": 0, "failed": 0, "skipped": 0}
    for path in sorted(directory.glob("*.json")):
        document = json.loads(path.read_text(encoding="utf-8"))
        if document["format"] != 1:
            raise SystemExit(f"{path.name}: unknown format")
        for told in document["stories"]:
            name = f"{document['area']}.{told['name']}"
            if not name.startswith(prefix):
                continue
            if environment not in told.get("environments", ENVIRONMENTS):
                counts["skipped"] += 1
                report.line(f"story {environment} {name} skipped not for this environment")
                continue
            why = await tell(told, host, environment == "sealed")
            counts["ok" if why is None else "failed"] += 1
            report.line(f"story {environment} {name} " + ("ok" if why is None else f"failed {why}"))
    report.line(f"stories {environment} {counts['ok']} ok, {counts['failed']} failed, {counts['skipped']} skipped")
    return counts["failed"]


async def run(arguments: argparse.Namespace) -> int:
    report, failed = Report(), 0
    for environment in arguments.environments.split(","):
        if environment == "embedded":
            with tempfile.TemporaryDirectory(prefix="sandbox-state-") as state:
                async with sandbox.Runtime.open(state_directory=state) as runtime:
                    failed += await tell_all(report, environment, runtime, arguments.directory, arguments.filter)
        else:
            with Daemon() as daemon:
                async with sandbox.Client.connect(daemon.endpoint) as client:
                    failed += await tell_all(report, environment, client, arguments.directory, arguments.filter)
    return failed


def main() -> int:
    parser = argparse.ArgumentParser(description="Tells the stories through the Python binding.")
    parser.add_argument("--environments", default=",".join(ENVIRONMENTS))
    parser.add_argument("--filter", default="", metavar="PREFIX")
    parser.add_argument("directory", type=Path)
    return 1 if asyncio.run(run(parser.parse_args())) else 0


if __name__ == "__main__":
    sys.exit(main())

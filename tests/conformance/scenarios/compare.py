#!/usr/bin/env python3
"""compare.py <directory with reports> <directory with stories> [names that must be there]

Compares what the runners of all languages reported: every one must have told every story in every environment, with the
same outcome. Ends with 0 when they agree and nothing failed.
"""

import json
import pathlib
import sys

ENVIRONMENTS = ("embedded", "daemon", "sealed")


def stories(directory: pathlib.Path) -> dict[str, str]:
    """What should be reported: "environment name" -> "ok" or "skipped"."""
    wanted: dict[str, str] = {}
    for path in sorted(directory.glob("*.json")):
        described = json.loads(path.read_text())
        for story in described["stories"]:
            for environment in ENVIRONMENTS:
                applies = environment in story.get("environments", ENVIRONMENTS)
                key = f"{environment} {described['area']}.{story['name']}"
                if key in wanted:
                    sys.exit(f"compare: {key} is told twice")
                wanted[key] = "ok" if applies else "skipped"
    return wanted


def outcomes(path: pathlib.Path) -> dict[str, str]:
    """What one runner reported, in the same form; the reason follows the outcome of a failed story."""
    told: dict[str, str] = {}
    for line in path.read_text(errors="replace").splitlines():
        words = line.split(" ", 4)
        if words[0] == "story" and len(words) >= 4:
            told[f"{words[1]} {words[2]}"] = line.split(" ", 3)[3] if words[3] == "failed" else words[3]
    return told


def main() -> int:
    reports, directory, required = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), sys.argv[3:]
    wanted = stories(directory)
    differences = 0
    seen = []
    for path in sorted(reports.glob("*.txt")):
        seen.append(path.stem)
        told = outcomes(path)
        for key in sorted(wanted.keys() | told.keys()):
            if told.get(key) != wanted.get(key):
                differences += 1
                print(f"{path.stem}: {key}: {told.get(key, 'not told')}, wanted {wanted.get(key, 'nothing')}")
    missing = [name for name in required if name not in seen]
    for name in missing:
        print(f"no report of {name}")
    print(f"{len(wanted)} stories and environments, {len(seen)} languages ({', '.join(seen)}), {differences} differences")
    return 1 if differences or missing or not seen else 0


if __name__ == "__main__":
    sys.exit(main())

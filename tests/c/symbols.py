#!/usr/bin/env python3
"""Compares what libsandbox.so exports with what c.h declares: every declared function, and nothing else.

usage: symbols.py [--nm NM] --header c.h libsandbox.so
"""
import argparse
import pathlib
import re
import subprocess
import sys


def declared(header: str) -> set[str]:
    header = re.sub(r'/\*.*?\*/', '', header, flags=re.S)
    return set(re.findall(r'^SBX_API\b[^;]*?\b(sbx_\w+)\s*\(', header, flags=re.M))


def exported(nm: str, library: str) -> set[str]:
    lines = subprocess.run([nm, '-D', '--defined-only', library], check=True, capture_output=True, text=True).stdout.splitlines()
    # The version's own name is listed as an absolute symbol.
    return {fields[2].split('@')[0] for fields in map(str.split, lines) if len(fields) == 3 and fields[1] != 'A'}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--nm', default='nm')
    parser.add_argument('--header', type=pathlib.Path, required=True)
    parser.add_argument('library')
    options = parser.parse_args()
    wanted = declared(options.header.read_text())
    found = exported(options.nm, options.library)
    for name in sorted(wanted - found):
        print(f'declared, but not exported: {name}')
    for name in sorted(found - wanted):
        print(f'exported, but not declared: {name}')
    if len(wanted) < 100:
        print(f'only {len(wanted)} functions were found in {options.header}: this script does not understand it any more')
        return 1
    print(f'{len(found)} symbols exported, {len(wanted)} functions declared')
    return 0 if wanted == found else 1


if __name__ == '__main__':
    sys.exit(main())

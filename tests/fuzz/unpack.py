#!/usr/bin/env python3
"""unpack.py CORPUS.TXT DIRECTORY: one file for each line "name hexadecimal" of the corpus."""
import pathlib
import sys

directory = pathlib.Path(sys.argv[2])
directory.mkdir(parents=True, exist_ok=True)
for line in pathlib.Path(sys.argv[1]).read_text(encoding="utf-8").splitlines():
    if line and not line.startswith("#"):
        name, _, digits = line.partition(" ")
        (directory / name).write_bytes(bytes.fromhex(digits))

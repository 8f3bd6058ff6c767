#!/usr/bin/env python3
"""Measures what <sandbox/sandbox.hpp> costs a user to parse, beside what the standard headers it needs cost anyway.

The bar is a ratio of times from the same run, because the machine is shared: parsing our header may cost at most
kRatio times the parse of the standard headers alone. The absolute figure is printed for the compile-budget note.
"""
import argparse
import subprocess
import sys
import tempfile
import time

STANDARD = ['chrono', 'concepts', 'cstdint', 'exception', 'functional', 'memory', 'optional', 'span', 'string',
            'string_view', 'utility', 'variant', 'vector']
RATIO = 1.6


def parse_seconds(compiler, include, text):
    with tempfile.NamedTemporaryFile('w', suffix='.cpp') as file:
        file.write(text)
        file.flush()
        best = None
        for _ in range(5):
            begin = time.monotonic()
            subprocess.run([compiler, '-std=c++20', '-fsyntax-only', '-I', include, file.name], check=True)
            took = time.monotonic() - begin
            best = took if best is None else min(best, took)
        return best


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--compiler', required=True)
    parser.add_argument('--include', required=True)
    options = parser.parse_args()
    floor = parse_seconds(options.compiler, options.include, ''.join(f'#include <{h}>\n' for h in STANDARD))
    ours = parse_seconds(options.compiler, options.include, '#include <sandbox/sandbox.hpp>\n')
    print(f'<sandbox/sandbox.hpp> parses in {ours:.2f} s; the standard headers it needs in {floor:.2f} s; '
          f'ratio {ours / floor:.2f}, bar {RATIO}')
    return 0 if ours <= RATIO * floor else 1


if __name__ == '__main__':
    sys.exit(main())

#!/usr/bin/env python3
"""Compares the tests that skipped with the expected list, so that a silent hole in the tests is a failure.

usage: check_skips.py --junit FILE --expected FILE [--preset NAME] | --self-test

The list has one skip per line: `<ctest name>` or `<ctest name> <GTest Suite.Case>`, globs allowed, then optionally
` @condition` words and ` # why`. A condition is a preset's name, or `rootless`, `no-bwrap`, `no-runc` (facts of the host);
the entry then counts only where it holds. Output of test programs is searched for GTest's `[  SKIPPED ]` lines.
"""
import argparse
import fnmatch
import os
import pathlib
import re
import shutil
import sys
import xml.etree.ElementTree

SKIPPED = re.compile(r'\[  SKIPPED \] (\S+?)(?: \(|,|$)', re.M)


def read_expected(text, facts):
    entries = []
    for line in text.splitlines():
        line = line.split('#', 1)[0].strip()
        if not line:
            continue
        words = line.split()
        names = [w for w in words if not w.startswith('@')]
        conditions = [w[1:] for w in words if w.startswith('@')]
        if not all(c in facts for c in conditions):
            continue
        entries.append((names[0], names[1] if len(names) > 1 else '*'))
    return entries


def read_skips(junit):
    """(ctest name, GTest case or '*') of everything that skipped."""
    skips = []
    for case in xml.etree.ElementTree.fromstring(junit).iter('testcase'):
        name = case.get('name', '')
        output = ''.join(e.text or '' for e in case.iter('system-out'))
        cases = sorted(set(SKIPPED.findall(output)))
        skips += [(name, c) for c in cases]
        if (case.get('status') in ('notrun', 'disabled') or case.find('skipped') is not None) and not cases:
            skips.append((name, '*'))
    return skips


def unexpected(skips, entries):
    return [(test, case) for test, case in skips
            if not any(fnmatch.fnmatchcase(test, t) and (fnmatch.fnmatchcase(case, c)) for t, c in entries)]


def self_test():
    junit = ('<testsuite><testcase name="a" status="run"><system-out>[  SKIPPED ] S.One (0 ms)\n[       OK ] S.Two'
             '</system-out></testcase><testcase name="b" status="notrun"><skipped/></testcase>'
             '<testcase name="c" status="run"/></testsuite>')
    skips = read_skips(junit)
    facts = {'asan'}
    checks = [
        (skips, [('a', 'S.One'), ('b', '*')]),
        (unexpected(skips, read_expected('', facts)), [('a', 'S.One'), ('b', '*')]),
        (unexpected(skips, read_expected('a S.One # why\nb', facts)), []),
        (unexpected(skips, read_expected('a S.*\nb @asan', facts)), []),
        (unexpected(skips, read_expected('a S.Two\nb @tsan', facts)), [('a', 'S.One'), ('b', '*')]),
    ]
    failed = [pair for pair in checks if pair[0] != pair[1]]
    for found, wanted in failed:
        print(f'self-test: expected {wanted}, found {found}')
    print(f'{len(checks) - len(failed)} of {len(checks)} self-tests passed')
    return 1 if failed else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--junit', type=pathlib.Path)
    parser.add_argument('--expected', type=pathlib.Path)
    parser.add_argument('--preset', default='release')
    parser.add_argument('--self-test', action='store_true')
    options = parser.parse_args()
    if options.self_test:
        return self_test()
    if not options.junit or not options.expected or not options.junit.exists():
        print('check_skips: no junit report; did ctest run?', file=sys.stderr)
        return 2
    facts = {options.preset}
    facts |= {'rootless'} if os.geteuid() != 0 else set()
    facts |= {f'no-{p}' for p in ('bwrap', 'runc') if shutil.which(p) is None}
    skips = read_skips(options.junit.read_text())
    bad = unexpected(skips, read_expected(options.expected.read_text(), facts))
    for test, case in bad:
        print(f'unexpected skip: {test} {"" if case == "*" else case}'.rstrip())
    print(f'skips: {len(skips)} seen, {len(bad)} of them not in tests/expected_skips.txt')
    return 1 if bad else 0


if __name__ == '__main__':
    sys.exit(main())

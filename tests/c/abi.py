#!/usr/bin/env python3
"""Compares the binary interface that c.h describes with the committed baseline.

Signatures, enumerators and struct layouts (as this compiler lays them out) are one line each. Nothing that stands in
the baseline may go or change; a struct that begins with struct_size may grow at its end; functions, types and
enumerators may be added. Additions belong into the baseline with the change that makes them.

usage: abi.py --compiler CC --include DIR --baseline FILE [--update] | --self-test
"""
import argparse
import pathlib
import re
import subprocess
import sys
import tempfile


def squeeze(text: str) -> str:
    return re.sub(r'\s*\*\s*', ' *', re.sub(r'\s+', ' ', text)).replace('( ', '(').strip()


def members_of(body: str) -> list[str]:
    names = []
    for declaration in filter(None, map(str.strip, body.split(';'))):
        for part in declaration.split(','):
            names.append(re.match(r'.*?(\w+)\s*(?:\[[^]]*\])?$', part.strip(), re.S).group(1))
    return names


def declarations(header: str) -> tuple[list[str], list[str], dict[str, list[str]]]:
    """Functions, enumerators, and the members of each struct."""
    header = re.sub(r'/\*.*?\*/', '', header, flags=re.S)
    functions = [squeeze(text) for text in re.findall(r'^SBX_API\s+([^;]*);', header, re.M)]
    enumerators = []
    for body, name in re.findall(r'typedef enum \w+ \{([^}]*)\} (\w+);', header):
        enumerators += [f'{name} {item.split("=")[0].strip()}' for item in body.split(',') if item.strip()]
    structs = {name: members_of(body) for body, name in re.findall(r'typedef struct \w+ \{([^}]*)\} (\w+);', header)}
    return functions, enumerators, structs


def describe(compiler: str, include: pathlib.Path) -> list[str]:
    functions, enumerators, structs = declarations((include / 'sandbox/c.h').read_text())
    program = ['#include <stdio.h>', '#include <sandbox/c.h>', 'int main(void) {']
    for item in enumerators:
        kind, name = item.split()
        program.append(f'  printf("enumerator {kind} {name} = %d\\n", (int){name});')
    for name, members in structs.items():
        for member in members:
            program.append(f'  printf("member {name}.{member} at %zu size %zu\\n", offsetof({name}, {member}), sizeof((({name} *)0)->{member}));')
        program.append(f'  printf("struct {name} size %zu\\n", sizeof({name}));')
    program.append('  return 0;\n}\n')
    with tempfile.TemporaryDirectory() as folder:
        source = pathlib.Path(folder, 'layout.c')
        source.write_text('\n'.join(program))
        subprocess.run([compiler, '-std=c11', '-I', str(include), '-o', f'{folder}/layout', str(source)], check=True)
        layouts = subprocess.run([f'{folder}/layout'], check=True, capture_output=True, text=True).stdout.splitlines()
    return sorted(layouts + [f'function {text}' for text in functions])


def growing(lines: list[str]) -> set[str]:
    return {line.split()[1].split('.')[0] for line in lines if re.match(r'member \w+\.struct_size at 0 ', line)}


def broken(before: list[str], now: list[str]) -> list[str]:
    """What of the baseline does not hold any more."""
    may_grow = growing(before)
    have = set(now)
    sizes = {line.split()[1]: int(line.split()[3]) for line in now if line.startswith('struct ')}
    problems = []
    for line in before:
        if line in have:
            continue
        words = line.split()
        if words[0] == 'struct' and words[1] in may_grow and sizes.get(words[1], 0) > int(words[3]):
            continue  # its members are compared one by one, and new ones lie behind
        problems.append(line)
    ends = {line.split()[1]: int(line.split()[3]) for line in before if line.startswith('struct ')}
    known = {line.split()[1] for line in before if line.startswith('member ')}
    for line in now:
        words = line.split()
        if words[0] != 'member' or words[1] in known:
            continue
        struct = words[1].split('.')[0]
        if struct in ends and int(words[3]) < ends[struct]:
            problems.append(f'{line} (new, but not behind the end)')
    return problems


def self_test() -> int:
    base = ['enumerator e A = 1', 'function int f(int a)', 'member s.struct_size at 0 size 8', 'member s.x at 8 size 4', 'struct s size 16',
            'member p.x at 0 size 4', 'struct p size 4']
    grown = ['member s.y at 16 size 8', 'struct s size 24']
    cases = [
        ('the same', base, 0),
        ('a new function', base + ['function int g(void)'], 0),
        ('a new enumerator', base + ['enumerator e B = 2'], 0),
        ('an options struct grows', [l for l in base if l != 'struct s size 16'] + grown, 0),
        ('a function is gone', [l for l in base if not l.startswith('function')], 1),
        ('an argument changes', [l.replace('int a', 'long a') for l in base], 1),
        ('an enumerator changes', [l.replace('A = 1', 'A = 2') for l in base], 1),
        ('a member moves', [l.replace('s.x at 8', 's.x at 12') for l in base], 1),
        ('a plain struct grows', [l for l in base if l != 'struct p size 4'] + ['member p.y at 4 size 4', 'struct p size 8'], 1),
        ('a member in a hole', base + ['member s.y at 12 size 4'], 1),
    ]
    failed = [name for name, now, wanted in cases if len(broken(base, now)) != wanted]
    functions, enumerators, structs = declarations('/* x */\ntypedef enum e { A = 1, B } e;\ntypedef struct s {\n  size_t struct_size;\n'
                                                   '  int a, b; char c[4];\n  const int *d;\n} s;\nSBX_API int  f(int *a,\n   char b);\n')
    if (functions, enumerators, structs) != (['int f(int *a, char b)'], ['e A', 'e B'], {'s': ['struct_size', 'a', 'b', 'c', 'd']}):
        failed.append(f'parsing: {functions} {enumerators} {structs}')
    for name in failed:
        print(f'self-test: {name}')
    return 1 if failed else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--compiler', default='cc')
    parser.add_argument('--include', type=pathlib.Path)
    parser.add_argument('--baseline', type=pathlib.Path)
    parser.add_argument('--update', action='store_true', help='write the baseline anew; refuses when that would break it')
    parser.add_argument('--self-test', action='store_true')
    options = parser.parse_args()
    if options.self_test:
        return self_test()
    now = describe(options.compiler, options.include)
    before = options.baseline.read_text().splitlines() if options.baseline.exists() else []
    problems = broken(before, now)
    for line in problems:
        print(f'broken: {line}')
    if problems:
        print(f'\nPrograms built against an earlier c.h would break: undo this, or, before a first release and on purpose only,\n'
              f'delete {options.baseline.name} and run this with --update.')
        return 1
    if options.update:
        options.baseline.write_text('\n'.join(now) + '\n')
        return 0
    added = [line for line in now if line not in set(before)]
    for line in added:
        print(f'not in the baseline: {line}')
    if added:
        print(f'\nNothing broke. Add what is new: {sys.argv[0]} --compiler cc --include include --baseline {options.baseline} --update')
        return 1
    print(f'{len(now)} lines agree')
    return 0


if __name__ == '__main__':
    sys.exit(main())

#!/usr/bin/env python3
"""Compares #includes and CMake USES with the module table of docs/ARCHITECTURE.md.

usage: check_layers.py [--root DIR] | --self-test

A module under lib/ may include itself, what its row lists, and what those rows list. Boost may appear only where the
row chain reaches "Asio". Public headers have levels: level 2 is asio.hpp, asio/ and backend.hpp; everything else is
level 0 or 1 and sees neither Boost nor a module. Programs under tools/ see public headers, and the agent's and the
launcher's main also their own module. Tests may include anything.
"""
import argparse
import pathlib
import re
import sys
import tempfile

INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*([<"])([^>"\n]+)[>"]', re.M)
USES = re.compile(r'sandbox_add_module\s*\((.*?)\)', re.S)
LEVEL2 = re.compile(r'^sandbox/(asio\.hpp|asio/.*|backend\.hpp)$')
# Third-party headers that never appear in a public header (style.md, "Public headers").
NEVER_PUBLIC = ('simdjson', 'zstd', 'sodium', 'seccomp', 'archive', 'nlohmann', 'openssl', 'CLI/', 'toml++', 'spdlog', 'prometheus', 'sqlite3')
TOOL_MODULES = {'sandbox-agent': ['agent'], 'sandbox-launcher': ['launch'], 'sandboxd': ['server']}


def read_table(text):
    """Module name -> the names its row lists. Third-party names keep their capital letter."""
    table = {}
    inside = False
    for line in text.splitlines():
        cells = [c.strip() for c in line.strip().strip('|').split('|')]
        if line.startswith('|') and cells[0] == 'module':
            inside = True
            continue
        if not inside:
            continue
        if not line.startswith('|'):
            break
        if set(cells[0]) <= set('-: '):
            continue
        names = [re.sub(r'\s*\(.*?\)', '', n).strip() for n in cells[0].split(',')]
        uses = [] if cells[1] in ('–', '-', '') else [u.strip() for u in re.split(r'[,;]', cells[1])]
        for name in names:
            table[name] = uses
    return table


def closure(table, name):
    seen, todo = set(), [name]
    while todo:
        for used in table.get(todo.pop(), []):
            if used not in seen:
                seen.add(used)
                todo.append(used)
    return seen


def module_of(path, modules):
    """The module a path below lib/ belongs to: the longest name that is a prefix."""
    best = None
    for name in modules:
        if path.startswith(name + '/') and (best is None or len(name) > len(best)):
            best = name
    return best


def sources(directory):
    for pattern in ('*.hpp', '*.cpp', '*.h', '*.c', '*.ipp'):
        yield from sorted(directory.rglob(pattern))


def check(root):
    problems = []
    table = read_table((root / 'docs/ARCHITECTURE.md').read_text())
    modules = [m for m in table if m != 'tools']
    if len(modules) < 2:
        return ['docs/ARCHITECTURE.md: the module table was not found']
    for name in modules:
        if name in closure(table, name):
            problems.append(f'docs/ARCHITECTURE.md: {name} uses itself in a circle')
        for used in table[name]:
            if used not in table and not used[:1].isupper():
                problems.append(f'docs/ARCHITECTURE.md: {name} uses {used}, which has no row')

    def includes(path):
        text = path.read_text(errors='replace')
        text = re.sub(r'/\*.*?\*/', lambda m: '\n' * m.group().count('\n'), text, flags=re.S)
        for match in INCLUDE.finditer(text):
            yield text.count('\n', 0, match.start()) + 1, match.group(1), match.group(2)

    lib = root / 'lib'
    for path in sources(lib):
        relative = path.relative_to(lib).as_posix()
        own = module_of(relative, modules)
        where = f'lib/{relative}'
        if own is None:
            problems.append(f'{where}: this folder has no row in docs/ARCHITECTURE.md')
            continue
        allowed = closure(table, own) | {own}
        for line, kind, target in includes(path):
            if target.startswith('boost/') and 'Asio' not in allowed:
                problems.append(f'{where}:{line}: {own} must not see Boost (<{target}>)')
            if kind == '<' and LEVEL2.match(target) and 'asio' in target and 'Asio' not in allowed:
                problems.append(f'{where}:{line}: {own} must not see <{target}>')
            if kind != '"':
                continue
            used = module_of(target, modules)
            if used is None:
                if '/' in target or (path.parent / target).exists() is False:
                    problems.append(f'{where}:{line}: "{target}" is not below lib/ (write "module/file.hpp")')
                else:
                    problems.append(f'{where}:{line}: write "{own}/{target}", not "{target}"')
            elif used not in allowed:
                problems.append(f'{where}:{line}: {own} must not include {used} ("{target}")')
    for path in sorted(lib.rglob('CMakeLists.txt')):
        for call in USES.finditer(path.read_text()):
            words = call.group(1).split()
            relative = path.parent.relative_to(lib).as_posix() + '/'
            own = module_of(relative, modules)
            if own is None or 'USES' not in words:
                continue
            allowed = closure(table, own)
            for word in words[words.index('USES') + 1:]:
                if word.isupper():
                    break
                if word.startswith('$'):
                    continue  # a list made above: the includes are checked anyway
                used = next((m for m in modules if m == word or m.replace('/', '_') == word or m.split('/')[-1] == word), None)
                if used is None:
                    problems.append(f'lib/{relative}CMakeLists.txt: USES {word}, which has no row')
                elif used not in allowed:
                    problems.append(f'lib/{relative}CMakeLists.txt: {own} must not use {used}')

    include = root / 'include'
    for path in sources(include):
        relative = path.relative_to(include).as_posix()
        level2 = bool(LEVEL2.match(relative))
        for line, kind, target in includes(path):
            where = f'include/{relative}:{line}'
            if kind == '"':
                problems.append(f'{where}: public headers include <sandbox/…> only, not "{target}"')
            elif target.startswith('boost/') and not level2:
                problems.append(f'{where}: Boost appears only in level 2 (<{target}>)')
            elif target.startswith('boost/beast'):
                problems.append(f'{where}: Beast never appears in a public header')
            elif target.startswith(NEVER_PUBLIC):
                problems.append(f'{where}: <{target}> never appears in a public header')
            elif LEVEL2.match(target) and not level2:
                problems.append(f'{where}: level 2 <{target}> from a lower level')

    tools = root / 'tools'
    if tools.is_dir():
        for path in sources(tools):
            relative = path.relative_to(tools).as_posix()
            allowed = set()
            for name in TOOL_MODULES.get(relative.split('/')[0], []):
                allowed |= closure(table, name) | {name}
            for line, kind, target in includes(path):
                used = module_of(target, modules) if kind == '"' else None
                if used is not None and used not in allowed:
                    problems.append(f'tools/{relative}:{line}: a tool sees public headers only ("{target}")')
    return problems


def self_test():
    architecture = ('# x\n\n| module | uses | what |\n|---|---|---|\n| core (guest) | – | a |\n| aio | core, Asio | b |\n'
                    '| os (guest in parts) | core | c |\n| backends/fake, backends/native | os | d |\n'
                    '| tools | public headers; agent | e |\n\nend\n')

    def run(files):
        with tempfile.TemporaryDirectory() as name:
            root = pathlib.Path(name)
            for folder in ('lib', 'include/sandbox', 'docs', 'tools'):
                (root / folder).mkdir(parents=True)
            (root / 'docs/ARCHITECTURE.md').write_text(architecture)
            for file, text in files.items():
                (root / file).parent.mkdir(parents=True, exist_ok=True)
                (root / file).write_text(text)
            return check(root)

    cases = [
        ('own module', {'lib/os/a.cpp': '#include "os/a.hpp"\n'}, 0),
        ('downwards', {'lib/os/a.cpp': '#include "core/a.hpp"\n'}, 0),
        ('two steps down', {'lib/backends/fake/a.cpp': '#include "core/a.hpp"\n'}, 0),
        ('upwards', {'lib/core/a.cpp': '#include "os/a.hpp"\n'}, 1),
        ('sideways', {'lib/backends/fake/a.cpp': '#include "backends/native/a.hpp"\n'}, 1),
        ('in a comment', {'lib/core/a.cpp': '/*\n#include "os/a.hpp"\n*/\n// #include "os/a.hpp"\n'}, 0),
        ('unknown folder', {'lib/new/a.cpp': '\n'}, 1),
        ('not rooted at lib', {'lib/os/a.hpp': '', 'lib/os/a.cpp': '#include "a.hpp"\n'}, 1),
        ('Boost below Asio', {'lib/aio/a.cpp': '#include <boost/asio.hpp>\n'}, 0),
        ('Boost elsewhere', {'lib/os/a.cpp': '#include <boost/asio.hpp>\n'}, 1),
        ('Boost in a level 1 header', {'include/sandbox/fs.hpp': '#include <boost/asio.hpp>\n'}, 1),
        ('Boost in a level 2 header', {'include/sandbox/asio.hpp': '#include <boost/asio.hpp>\n'}, 0),
        ('level 2 from level 1', {'include/sandbox/fs.hpp': '#include <sandbox/asio.hpp>\n'}, 1),
        ('module from a public header', {'include/sandbox/fs.hpp': '#include "os/a.hpp"\n'}, 1),
        ('zstd in a public header', {'include/sandbox/fs.hpp': '#include <zstd.h>\n'}, 1),
        ('tool with a module', {'tools/sbx/main.cpp': '#include "os/a.hpp"\n'}, 1),
        ('tool with its own header', {'tools/sbx/main.cpp': '#include "parse.hpp"\n'}, 0),
        ('CMake downwards', {'lib/os/CMakeLists.txt': 'sandbox_add_module(NAME os SOURCES a.cpp USES core)\n'}, 0),
        ('CMake with a list', {'lib/os/CMakeLists.txt': 'sandbox_add_module(NAME os SOURCES a.cpp USES ${uses})\n'}, 0),
        ('CMake upwards', {'lib/core/CMakeLists.txt': 'sandbox_add_module(NAME core GUEST USES os LINK x)\n'}, 1),
    ]
    failed = 0
    for name, files, expected in cases:
        found = run(files)
        if len(found) != expected:
            failed += 1
            print(f'self-test "{name}": expected {expected} problems, found {found}')
    table = read_table(architecture)
    if table['backends/native'] != ['os'] or closure(table, 'aio') != {'core', 'Asio'}:
        failed += 1
        print(f'self-test: the table was read as {table}')
    print(f'{len(cases) + 1 - failed} of {len(cases) + 1} self-tests passed')
    return 1 if failed else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--root', default=pathlib.Path(__file__).resolve().parents[2], type=pathlib.Path)
    parser.add_argument('--self-test', action='store_true')
    options = parser.parse_args()
    if options.self_test:
        return self_test()
    problems = check(options.root)
    print('\n'.join(problems) if problems else 'layers: includes agree with docs/ARCHITECTURE.md')
    return 1 if problems else 0


if __name__ == '__main__':
    sys.exit(main())

#!/usr/bin/env python3
"""Finds temporaries that GCC 12 destroys twice inside expressions with co_await.

usage: lint_co_await.py [--root DIR | FILE…] | --self-test

Reported in every full expression that contains co_await (or co_yield): a capturing lambda, a `Type{…}` temporary (it
may be an aggregate), and a bare `{…}` argument. Name it first and move it in. Say `// co_await-ok: why` on the line of
the expression where the type is known not to be an aggregate.
"""
import argparse
import pathlib
import re
import sys

TOKEN = re.compile(r'''
    (?P<comment>//[^\n]*|/\*.*?\*/)
  | (?P<raw>R"(?P<delimiter>[^(\s]*)\(.*?\)(?P=delimiter)")
  | (?P<string>"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*')
  | (?P<preprocessor>^[ \t]*\#(?:[^\n\\]|\\\n|\\.)*)
  | (?P<word>[A-Za-z_]\w*)
  | (?P<number>\.?\d(?:[\w.']|[eEpP][+-])*)
  | (?P<op>::|->|\[\[|\]\]|&&|\|\||[-+*/%&|^=!<>]=|[][(){}<>;,.?:=+\-*/%&|^~!@])
''', re.X | re.S | re.M)

OPEN = {'(': ')', '{': '}', '[': ']'}
CLOSE = {v: k for k, v in OPEN.items()}
# Scalars: nothing is destroyed, so nothing is destroyed twice.
SCALARS = {'byte', 'bool', 'char', 'short', 'int', 'long', 'unsigned', 'float', 'double', 'size_t', 'ptrdiff_t'} | \
    {f'{u}int{n}_t' for u in ('', 'u') for n in (8, 16, 32, 64)}
CONTROL = {'if', 'while', 'for', 'switch', 'catch'}
# After the `}` of a braced initialiser the expression goes on; after the `}` of a block a new statement begins.
CONTINUES = {',', ')', ']', '.', '->', ';', '?', ':', '&&', '||', '==', '!=', '<=', '>=', '+', '-', '/', '|', '}', '(', '<', '>'}


class Token:
    __slots__ = ('text', 'line', 'kind')

    def __init__(self, text, line, kind):
        self.text, self.line, self.kind = text, line, kind


def tokenize(source):
    tokens, excused = [], set()
    line, position = 1, 0
    for match in TOKEN.finditer(source):
        line += source.count('\n', position, match.start())
        position = match.start()
        kind, text = match.lastgroup, match.group()
        if kind == 'delimiter':
            kind = 'raw'
        if kind == 'comment':
            if 'co_await-ok:' in text:
                excused.add(line)
            continue
        if kind == 'preprocessor':
            continue
        if text == ']]':
            # Two closing brackets of nested subscripts and the end of an attribute look the same; brackets must pair.
            tokens += [Token(']', line, 'op'), Token(']', line, 'op')]
        elif text == '[[':
            tokens += [Token('[', line, 'op'), Token('[', line, 'op')]
        else:
            tokens.append(Token(text, line, kind))
    return tokens, excused


def pair_up(tokens):
    partner, stack = {}, []
    for i, token in enumerate(tokens):
        if token.text in OPEN:
            stack.append(i)
        elif token.text in CLOSE and stack and tokens[stack[-1]].text == CLOSE[token.text]:
            j = stack.pop()
            partner[i], partner[j] = j, i
    return partner


def is_lambda(tokens, partner, i):
    """tokens[i] is `[` that introduces a lambda (not a subscript, not an attribute)."""
    if i + 1 < len(tokens) and tokens[i + 1].text == '[':
        return False
    before = tokens[i - 1] if i else None
    if before is not None and (before.text in (')', ']', '[') or (before.kind in ('word', 'string') and
                               before.text not in ('return', 'co_return', 'co_await', 'co_yield', 'case'))):
        return False
    end = partner.get(i)
    return end is not None and end + 1 < len(tokens) and tokens[end + 1].text in ('(', '{', '<', 'mutable', 'noexcept', '->')


def lambda_end(tokens, partner, i):
    """Index of the closing brace of the lambda that starts at i, or None."""
    j = partner[i] + 1
    while j < len(tokens) and tokens[j].text != '{':
        if tokens[j].text in (';', ')', '}'):
            return None
        j = partner[j] + 1 if tokens[j].text in ('(', '[') and j in partner else j + 1
    return partner.get(j) if j < len(tokens) else None


def returns_type(tokens, i):
    """tokens[i] ends the trailing return type of a function or lambda: `-> a::B<c>`."""
    depth = 0
    while i >= 0:
        text = tokens[i].text
        if text == '>':
            depth += 1
        elif text == '<':
            depth -= 1
        elif depth == 0 and text == '->':
            return True
        elif depth == 0 and tokens[i].kind != 'word' and text not in ('::', '&', '*'):
            return False
        elif text in ('{', '}', ';'):
            return False
        i -= 1
    return False


def braced_kind(tokens, i):
    """What the `{` at i is: 'type' (T{…}), 'bare' (an argument or operand), or None (a block or a declaration)."""
    before = tokens[i - 1] if i else None
    if before is None:
        return None
    if before.text in ('(', ',', 'co_return', 'co_yield', 'co_await', '?', '&&', '||'):
        return 'bare'
    if returns_type(tokens, i - 1):
        return None
    if before.text == '>':
        return 'type'
    if before.kind == 'word' and before.text not in ('else', 'do', 'try', 'const', 'noexcept', 'override', 'final', 'mutable',
                                                     'return', 'namespace', 'struct', 'class', 'union', 'enum'):
        return 'type'
    return None


def expression(tokens, partner, at):
    """First and last token of the full expression around tokens[at]."""
    i = at
    while i > 0:
        text = tokens[i - 1].text
        if text in ('}', ')', ']') and (i - 1) in partner:
            if text == '}' and tokens[i].text not in CONTINUES:
                break
            i = partner[i - 1]
            continue
        if text == ';':
            break
        if text == '{' and braced_kind(tokens, i - 1) is None:
            break
        if text == '{' and i - 2 >= 0 and tokens[i - 2].kind == 'word' and tokens[i - 2].text[:1].islower() \
                and i - 3 >= 0 and tokens[i - 3].text in ('namespace', 'struct', 'class'):
            break
        if text == '(' and i - 2 >= 0 and tokens[i - 2].text in CONTROL:
            break
        if text == '(' and i - 3 >= 0 and tokens[i - 2].text == 'constexpr' and tokens[i - 3].text == 'if':
            break
        i -= 1
    first, j = i, at
    while j + 1 < len(tokens):
        text = tokens[j + 1].text
        if text == ';':
            break
        if text == '{' and braced_kind(tokens, j + 1) is None:
            break
        if text in OPEN and (j + 1) in partner:
            j = partner[j + 1]
            continue
        if text in CLOSE:
            opener = partner.get(j + 1)
            if opener is None or opener < first:
                break
        j += 1
    return first, j


def check_source(source):
    tokens, excused = tokenize(source)
    partner = pair_up(tokens)
    problems, seen = [], set()
    for at, token in enumerate(tokens):
        if token.text not in ('co_await', 'co_yield'):
            continue
        first, last = expression(tokens, partner, at)
        # The declared variable of `Type name{co_await …}` is named: only what is inside its braces is a temporary.
        i = first
        while i <= last:
            text = tokens[i].text
            if text == '[' and is_lambda(tokens, partner, i):
                captures = partner[i] > i + 1
                end = lambda_end(tokens, partner, i)
                inside = end is not None and i < at < end
                if captures and not inside:
                    problems.append((tokens[i].line, 'a capturing lambda is born in an expression with co_await'))
                if end is not None and not inside:
                    i = end + 1
                    continue
            elif text == '{' and i in partner:
                kind = braced_kind(tokens, i)
                # `auto x = …; Type name{co_await …}`: two words before the brace declare a name.
                declares = kind == 'type' and i >= 2 and tokens[i - 1].kind == 'word' and \
                    (tokens[i - 2].kind == 'word' and tokens[i - 2].text not in ('co_await', 'return', 'co_return', 'co_yield')
                     or tokens[i - 2].text in ('>', '&', '*'))
                if kind == 'type' and not declares and tokens[i - 1].text not in SCALARS:
                    problems.append((tokens[i].line, f'{tokens[i - 1].text}{{…}} is born in an expression with co_await'))
                elif kind == 'bare':
                    problems.append((tokens[i].line, 'a braced argument is born in an expression with co_await'))
            i += 1
    result = []
    for line, text in problems:
        if line not in excused and (line, text) not in seen:
            seen.add((line, text))
            result.append((line, text))
    return sorted(result)


def self_test():
    bad = [
        'co_await f(Opts{1, 2});',
        'co_await f({1, 2});',
        'co_await f(a, {.x = 1});',
        'auto r = co_await box.exec([x] { return x; });',
        'auto r = co_await box.exec([&] { return 1; });',
        'auto r = co_await box.exec([this](int) { return 1; });',
        'if (co_await f(Opts{})) { g(); }',
        'while (auto x = co_await next(Options{.a = 1})) { }',
        'g(co_await f(), Opts{1});',
        'co_return co_await f(std::vector<int>{1, 2});',
        'void g() { int a; co_await f(\n  Opts{1}); }',
        'x = y + co_await f(detail::Thing{});',
        'co_await f([x]() -> Foo { return x; });',
        'SANDBOX_CO_TRY(auto x, co_await f(Opts{}));',
        'run([p]() -> awaitable<void> { co_await f(Opts{1}); });',
        'auto a = R"(x)"; co_await f(Opts{1});',
    ]
    good = [
        'auto o = Opts{1, 2}; co_await f(std::move(o));',
        'auto op = f(Opts{1}); co_await std::move(op);',
        'co_await box.async_exec(Command("ls").args("-l", dir), token);',
        'co_await f([] { return 1; });',
        'co_spawn(ex, [x]() -> awaitable<void> { co_await f(); }, detached);',
        '// co_await f(Opts{1});\ng();',
        '/* co_await f({1}); */',
        's = "co_await f(Opts{1});";',
        'Opts o{1}; { co_await f(o); }',
        'co_await f(std::byte{1}, std::uint32_t{2});',
        'run([p]() -> a::Task { co_await f(); });',
        'if (x) { g(Opts{1}); } co_await f();',
        'if (co_await f()) { g(Opts{1}); }',
        'for (auto& x : y) { co_await f(x); }',
        'auto x = co_await f(v[i], w[v[i]]);',
        'co_await f(Opts{1});  // co_await-ok: Opts has a constructor',
        'Result<int> r{co_await f()};',
        'namespace a { awaitable<void> g() { co_await f(); } }',
        'struct A { awaitable<void> g() { co_await f(); } };',
        '[[maybe_unused]] auto x = co_await f();',
        'switch (x) { case 1: co_await f(); break; }',
        '#define X co_await f(Opts{1})\n',
    ]
    failed = 0
    for code in bad:
        if not check_source(code):
            failed += 1
            print(f'self-test: missed in   {code!r}')
    for code in good:
        found = check_source(code)
        if found:
            failed += 1
            print(f'self-test: accused     {code!r}: {found}')
    total = len(bad) + len(good)
    print(f'{total - failed} of {total} self-tests passed')
    return 1 if failed else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--root', default=pathlib.Path(__file__).resolve().parents[2], type=pathlib.Path)
    parser.add_argument('--self-test', action='store_true')
    parser.add_argument('files', nargs='*', type=pathlib.Path)
    options = parser.parse_args()
    if options.self_test:
        return self_test()
    files = options.files
    if not files:
        for folder in ('include', 'lib', 'tools', 'examples', 'benchmarks', 'tests'):
            for pattern in ('*.hpp', '*.cpp', '*.ipp'):
                files += sorted((options.root / folder).rglob(pattern))
    count = 0
    for path in files:
        for line, text in check_source(path.read_text(errors='replace')):
            print(f'{path}:{line}: {text}; name it first and move it in')
            count += 1
    print(f'co_await: {count} problems in {len(files)} files')
    return 1 if count else 0


if __name__ == '__main__':
    sys.exit(main())

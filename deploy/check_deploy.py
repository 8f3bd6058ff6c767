#!/usr/bin/env python3
"""Checks what lies in deploy/ against the daemon.

usage: check_deploy.py --sandboxd PROGRAM --source DIR

* sandboxd.toml is taken by `sandboxd --check` without a word, and by `--print-config` as the defaults: what the example
  shows is what a daemon without a file does.
* Every key that lib/server knows stands in it, commented out or not, and it names no other.
* sandboxd.service passes `systemd-analyze verify` where that is there.
"""
import argparse
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

SETTING = re.compile(r'\b(?:setting|unused)\(\s*"([a-z_]+\.[a-z_0-9]+)"')
PROFILE_SETTING = re.compile(r'(?:profile_setting\(|\{)\s*"([a-z_]+)",')


def schema_keys(text):
    keys = set(SETTING.findall(text))
    body = text[text.index('make_profile_settings()'):]
    body = body[:body.index('\n}\n')]
    return keys, {f'pool.base.default.{key}' for key in PROFILE_SETTING.findall(body)}


def example_keys(text):
    """Dotted keys of the file, those in lines that begin with "#key" included."""
    keys, section = set(), ''
    for line in text.splitlines():
        if header := re.match(r'#?\[([a-z_.]+)\]', line):
            section = header[1]
        elif entry := re.match(r'#?([a-z_0-9]+) = ', line):
            keys.add(f'{section}.{entry[1]}')
    return keys


def run(*arguments):
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=30, env={'PATH': '/usr/sbin:/usr/bin:/sbin:/bin'})
    return done.returncode, done.stdout, done.stderr


def problems(sandboxd, source):
    example = source / 'deploy/sandboxd.toml'
    general, profile = schema_keys((source / 'lib/server/config_schema.cpp').read_text())
    if len(general) < 20 or len(profile) < 5:
        yield f'only {len(general)} settings and {len(profile)} of profiles found in config_schema.cpp: is this script up to date?'
    shown = example_keys(example.read_text())
    for key in sorted((general | profile) - shown):
        yield f'sandboxd.toml does not show {key}'
    for key in sorted(shown - general - profile):
        if not key.startswith('pool.base.') or key.startswith('pool.base.default.'):
            yield f'sandboxd.toml shows {key}, which nobody reads'
    code, out, err = run(sandboxd, '--check', '--config', str(example))
    if code != 0 or 'warning' in err + out or 'error' in err + out:
        yield f'sandboxd --check {example.name}: exit code {code}: {out}{err}'
    in_force = run(sandboxd, '--print-config', '--config', str(example))[1]
    defaults = run(sandboxd, '--print-config')[1]
    if not defaults or in_force != defaults:
        there, here = defaults.splitlines(), in_force.splitlines()
        yield f'the example is not the defaults: {sorted(set(here) ^ set(there))}'
    if shutil.which('systemd-analyze'):
        with tempfile.TemporaryDirectory() as folder:
            unit = pathlib.Path(folder) / 'sandboxd.service'
            text = (source / 'deploy/sandboxd.service').read_text()
            unit.write_text(text.replace('/usr/local/bin/sandboxd', str(pathlib.Path(sandboxd).resolve())))
            code, out, err = run('systemd-analyze', 'verify', str(unit))
            if code != 0 or err.strip():
                yield f'systemd-analyze verify: exit code {code}: {out}{err}'


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('--sandboxd', required=True)
    parser.add_argument('--source', type=pathlib.Path, required=True)
    arguments = parser.parse_args()
    found = list(problems(arguments.sandboxd, arguments.source))
    for one in found:
        print(one, file=sys.stderr)
    return 1 if found else 0


if __name__ == '__main__':
    sys.exit(main())

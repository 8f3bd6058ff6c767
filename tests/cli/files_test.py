"""sbx run: files in and out, templates."""
import json
import os
import subprocess
import unittest

import sbx
from sbx import Case


class Files(Case):
    def test_a_file_goes_in_and_comes_out(self):
        data = os.urandom(1 << 20)
        (self.path / 'in').write_bytes(data)
        done = sbx.sbx('--upload', f'{self.path}/in:/root/deep/er/in', '--download', f'/root/out:{self.path}/made/out',
                       '--', 'sh', '-c', 'cat deep/er/in deep/er/in > out')
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual((self.path / 'made/out').read_bytes(), data + data)

    def test_permission_bits_travel(self):
        (self.path / 'tool').write_text('#!/bin/sh\necho "tool ran"\n')
        os.chmod(self.path / 'tool', 0o755)
        done = sbx.sbx('--upload', f'{self.path}/tool:.', '--', '/root/tool')
        if done.returncode == 125:
            self.fail(done.stderr)
        self.assertEqual(done.stdout, b'tool ran\n')

    def test_an_empty_file(self):
        (self.path / 'empty').write_bytes(b'')
        done = sbx.sbx('--upload', f'{self.path}/empty:/root/e', '--download', f'/root/e:{self.path}/back', '--', 'true')
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual((self.path / 'back').read_bytes(), b'')

    def test_a_directory_goes_in_and_comes_out(self):
        tree = self.path / 'tree'
        (tree / 'sub').mkdir(parents=True)
        (tree / 'a').write_text('a')
        (tree / 'sub/b').write_text('b')
        (tree / 'link').symlink_to('a')
        done = sbx.sbx('--upload', f'{tree}:/root/tree', '--download', f'/root/tree:{self.path}/back',
                       '--', 'sh', '-c', 'echo c > tree/sub/c; cat tree/link')
        self.assertEqual((done.returncode, done.stdout), (0, b'a'), done.stderr)
        self.assertEqual((self.path / 'back/sub/b').read_text(), 'b')
        self.assertEqual((self.path / 'back/sub/c').read_text(), 'c\n')
        self.assertEqual(os.readlink(self.path / 'back/link'), 'a')

    def test_several_transfers_with_odd_names(self):
        names = ['new\nline', 'sp ace', 'ünï', '-dash', 'co:lon']
        arguments = []
        for i, name in enumerate(names):
            (self.path / name).write_text(name)
            arguments += ['--upload', f'{self.path}/{name}:/root/{i}']
        done = sbx.sbx(*arguments, '--', 'sh', '-c', 'cat 0 1 2 3 4')
        self.assertEqual(done.stdout.decode(), ''.join(names), done.stderr)

    def test_downloads_come_out_of_a_failed_program(self):
        done = sbx.sbx('--download', f'/root/log:{self.path}/log', '--', 'sh', '-c', 'echo why > log; exit 9')
        self.assertEqual(done.returncode, 9, done.stderr)
        self.assertEqual((self.path / 'log').read_text(), 'why\n')

    def test_a_missing_download_is_an_error_and_leaves_no_file(self):
        done = sbx.sbx('--download', f'/root/nothing:{self.path}/x', '--', 'true')
        self.assertEqual(done.returncode, 125)
        self.assertIn(b'/root/nothing', done.stderr)
        self.assertEqual(list(self.path.iterdir()), [])

    def test_a_fifo_is_refused_on_either_side(self):
        os.mkfifo(self.path / 'fifo')
        done = sbx.sbx('--upload', f'{self.path}/fifo:/root/x', '--', 'true', timeout=20)
        self.assertEqual(done.returncode, 125)
        done = sbx.sbx('--download', f'/root/f:{self.path}/x', '--', 'mkfifo', '/root/f', timeout=20)
        self.assertEqual(done.returncode, 125, done.stderr)

    def test_a_download_does_not_follow_a_symlink_out(self):
        (self.path / 'victim').write_text('mine')
        done = sbx.sbx('--download', f'/root/d:{self.path}/d', '--', 'sh', '-c',
                       f'mkdir d; ln -s {self.path} d/out; ln -s /etc/hostname d/h')
        self.assertEqual(done.returncode, 0, done.stderr)
        # Links that lead out of the tree are left out, and named.
        self.assertFalse((self.path / 'd/out').exists())
        self.assertFalse((self.path / 'd/h').is_symlink())
        self.assertIn(b'left out', done.stderr)
        self.assertEqual((self.path / 'victim').read_text(), 'mine')

    def test_set_id_bits_do_not_come_out(self):
        done = sbx.sbx('--download', f'/root/s:{self.path}/s', '--', 'sh', '-c', 'echo x > s; chmod 6755 s')
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(os.stat(self.path / 's').st_mode & 0o6000, 0)

    def test_the_root_is_read_only_unless_asked(self):
        self.assertNotEqual(sbx.sbx('--', 'touch', '/usr/x').returncode, 0)
        self.assertEqual(sbx.sbx('--writable-root', '--', 'touch', '/usr/x').returncode, 0)
        self.assertFalse(os.path.exists('/usr/x'))


class Templates(Case):
    def test_save_list_use_remove(self):
        environment = {**os.environ, 'SANDBOX_STATE_DIR': str(self.path / 'state')}
        done = sbx.sbx('--json', '--save-template', 'mine', '--', 'sh', '-c', 'echo kept > /root/kept', env=environment)
        self.assertEqual(done.returncode, 0, done.stderr)
        template = json.loads(done.stdout)['template']
        listed = subprocess.run([sbx.SBX, 'tpl', 'ls', '--json', '--embedded'], env=environment, capture_output=True, check=True).stdout
        self.assertEqual([(t['id'], t['label']) for t in json.loads(listed)], [(template, 'mine')])
        done = sbx.sbx('--image', template, '--', 'cat', '/root/kept', env=environment)
        self.assertEqual((done.stdout, done.returncode), (b'kept\n', 0), done.stderr)
        removed = subprocess.run([sbx.SBX, 'tpl', 'rm', '--embedded', template], env=environment, capture_output=True)
        self.assertEqual(removed.returncode, 0, removed.stderr)
        self.assertEqual(sbx.sbx('--image', template, '--', 'true', env=environment).returncode, 125)

    def test_prune_removes_what_nothing_uses(self):
        state = self.path / 'state'
        environment = {**os.environ, 'SANDBOX_STATE_DIR': str(state)}

        def prune(*options):
            done = subprocess.run([sbx.SBX, 'tpl', 'prune', *options], env=environment, capture_output=True)
            self.assertEqual(done.returncode, 0, done.stderr)
            return done.stdout

        done = sbx.sbx('--json', '--save-template', 'mine', '--', 'sh', '-c', 'echo kept > /root/kept', env=environment)
        self.assertEqual(done.returncode, 0, done.stderr)
        template = json.loads(done.stdout)['template']
        self.assertEqual(sbx.sbx('--image', template, '--', 'true', env=environment).returncode, 0)
        layers = os.listdir(state / 'layers')
        self.assertEqual(len(layers), 1)
        self.assertEqual(json.loads(prune('--json', '--unused-for', '0')), {'dry_run': False, 'layers': [], 'size': 0})
        # Nothing says any more what the layer was.
        for name in os.listdir(state / 'templates'):
            os.unlink(state / 'templates' / name)
        self.assertEqual(prune('-q'), b'', 'it is young')
        told = json.loads(prune('--json', '--unused-for', '0', '--dry-run'))
        self.assertEqual([layer['digest'] for layer in told['layers']], layers)
        self.assertGreater(told['size'], 0)
        self.assertEqual(os.listdir(state / 'layers'), layers)
        self.assertIn(b'1 removed', prune('--unused-for', '0'))
        self.assertEqual(os.listdir(state / 'layers'), [])
        refused = subprocess.run([sbx.SBX, 'tpl', 'prune', '--unused-for', 'soon'], env=environment, capture_output=True)
        self.assertEqual(refused.returncode, 1)
        # Whoever names a daemon does not mean this directory.
        environment['SANDBOXD_ENDPOINT'] = 'unix:///nonexistent/socket'
        refused = subprocess.run([sbx.SBX, 'tpl', 'prune'], env=environment, capture_output=True)
        self.assertEqual(refused.returncode, 1)
        self.assertIn(b'prunes its own', refused.stderr)
        prune('--embedded')


if __name__ == '__main__':
    unittest.main()

"""sbx in a user namespace of its own: what a container without real root is to us."""
import subprocess
import unittest

import sbx
from sbx import Case

INSIDE = ['unshare', '--user', '--map-root-user']


def allowed():
    return subprocess.run([*INSIDE, 'true'], capture_output=True).returncode == 0


@unittest.skipUnless(allowed(), 'this host has no unprivileged user namespaces')
class UserNamespaces(Case):
    def run_inside(self, script):
        return subprocess.run([*INSIDE, 'sh', '-ec', script, 'sh', sbx.SBX], capture_output=True, timeout=60)

    def test_a_root_that_is_not_the_machines_goes_the_rootless_way(self):
        done = self.run_inside('exec "$1" run --allow-unenforced-limits -- id -u')
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(done.stdout, b'0\n')

    def test_without_user_namespaces_the_error_says_what_to_enable(self):
        done = self.run_inside('echo 0 > /proc/sys/user/max_user_namespaces; exec "$1" run -- true')
        self.assertEqual(done.returncode, 125, done.stderr)
        self.assertIn(b'sysctl -w user.max_user_namespaces', done.stderr)


if __name__ == '__main__':
    unittest.main()

#!/usr/bin/env python3
"""debian_package.py BUILD_DIR WORK_DIR: makes the Debian package, installs it with dpkg into a clean root, and runs `sbx run -- true`.

The clean root holds what is essential and what the package depends on, no more, copied from the packages of this machine: a missing
dependency shows as a program that does not start. The root is entered by pivot_root in a mount namespace of its own (in a chroot the
kernel refuses user namespaces); nothing of the build is visible there.
"""

import ctypes
import os
import pathlib
import re
import shutil
import subprocess
import sys

SKIPPED = 77
DPKG = pathlib.Path("/var/lib/dpkg")


def run(*words: str, **options) -> str:
    done = subprocess.run(words, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=300, **options)
    if done.returncode != 0:
        sys.exit(f"{' '.join(words[:6])} ended with {done.returncode}:\n{done.stdout[-4000:]}")
    return done.stdout


class Installed:
    """The packages of this machine, from dpkg's status file."""

    def __init__(self) -> None:
        self.stanzas: dict[str, str] = {}
        self.fields: dict[str, dict[str, str]] = {}
        self.provided: dict[str, str] = {}
        for stanza in (DPKG / "status").read_text().split("\n\n"):
            fields = {}
            for match in re.finditer(r"^([A-Za-z-]+): ?(.*(?:\n .*)*)", stanza, re.M):
                fields[match.group(1)] = match.group(2)
            if "Package" not in fields or "install ok installed" not in fields.get("Status", ""):
                continue
            name = fields["Package"]
            self.stanzas[name], self.fields[name] = stanza.strip("\n"), fields
            for virtual in re.split(r",\s*", fields.get("Provides", "")):
                if virtual:
                    self.provided.setdefault(virtual.split(" ")[0], name)

    def needed_by(self, depends: str) -> set[str]:
        """The first alternative of each dependency that is installed here, without versions: dpkg compares those."""
        found = set()
        for group in filter(None, re.split(r",\s*", depends.replace("\n", " "))):
            names = [re.split(r"[ :(]", word.strip())[0] for word in group.split("|")]
            real = [name if name in self.stanzas else self.provided.get(name) for name in names]
            real = [name for name in real if name]
            if not real:
                sys.exit(f"{group} is not installed here, so this test cannot put it into the root")
            found.add(real[0])
        return found

    def closure(self, depends: str) -> set[str]:
        wanted = self.needed_by(depends) | {name for name, fields in self.fields.items() if fields.get("Essential") == "yes"}
        known: set[str] = set()
        while wanted:
            name = wanted.pop()
            known.add(name)
            fields = self.fields[name]
            wanted |= self.needed_by(f"{fields.get('Pre-Depends', '')}, {fields.get('Depends', '')}".strip(", ")) - known
        return known


def copy_packages(installed: Installed, names: set[str], root: pathlib.Path) -> None:
    """Files of the packages as this machine has them, and dpkg's record of them."""
    for directory in ("usr/bin", "usr/sbin", "usr/lib", "usr/lib64", "var/lib/dpkg/info", "var/lib/dpkg/updates", "proc", "sys", "dev", "run",
                      "tmp"):
        (root / directory).mkdir(parents=True, exist_ok=True)
    for name in ("bin", "sbin", "lib", "lib64"):
        if os.path.islink(f"/{name}"):
            (root / name).symlink_to(f"usr/{name}")
    paths = []
    for name in sorted(names):
        for listed in list((DPKG / "info").glob(f"{name}.list")) + list((DPKG / "info").glob(f"{name}:*.list")):
            paths += listed.read_text().splitlines()
            for record in (DPKG / "info").glob(listed.name[: -len("list")] + "*"):
                shutil.copy2(record, root / "var/lib/dpkg/info")
    merged = [re.sub(r"^/(bin|sbin|lib|lib64)/", r"/usr/\1/", path) if os.path.islink("/bin") else path for path in paths]
    kept = [path for path in merged if path.startswith("/") and not path.startswith("/usr/share/") and os.path.lexists(path)]
    wanted = sorted({path[1:] for path in kept})
    wanted = [path for path in wanted if path and path not in ("bin", "sbin", "lib", "lib64")]
    pack = subprocess.Popen(["tar", "-C", "/", "-cf", "-", "--no-recursion", "--null", "-T", "-"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    unpack = subprocess.Popen(["tar", "-C", str(root), "-xpf", "-"], stdin=pack.stdout)
    pack.stdin.write("\0".join(wanted).encode())
    pack.stdin.close()
    if unpack.wait() != 0 or pack.wait() != 0:
        sys.exit("the root cannot be filled")
    # Links that packages make when they are configured.
    for link in ("usr/bin/sh", "usr/bin/awk"):
        if not os.path.lexists(root / link) and os.path.lexists(f"/{link}"):
            os.symlink("dash" if link.endswith("sh") else "mawk", root / link)
    if not os.path.lexists(root / "var/run"):
        (root / "var/run").symlink_to("/run")
    (root / "var/lib/dpkg/status").write_text("\n\n".join(installed.stanzas[name] for name in sorted(names)) + "\n\n")
    shutil.copytree(DPKG / "triggers", root / "var/lib/dpkg/triggers", dirs_exist_ok=True)
    for name in ("passwd", "group", "nsswitch.conf", "ld.so.conf"):
        if os.path.exists(f"/etc/{name}"):
            shutil.copy2(f"/etc/{name}", root / "etc")
    shutil.copytree("/etc/ld.so.conf.d", root / "etc/ld.so.conf.d", dirs_exist_ok=True)
    run("ldconfig", "-r", str(root))


class Mounts:
    """Enters a root for good, in a mount namespace of this process. Python itself keeps running: it is loaded."""

    NEWNS, BIND, REC, PRIVATE, DETACH = 0x20000, 0x1000, 0x4000, 0x40000, 2

    def __init__(self) -> None:
        self.libc = ctypes.CDLL(None, use_errno=True)

    def call(self, name: str, *arguments: object) -> None:
        given = [word.encode() if isinstance(word, str) else word for word in arguments]
        if getattr(self.libc, name)(*given) != 0:
            raise OSError(ctypes.get_errno(), f"{name} {arguments}")

    def enter(self, root: pathlib.Path) -> None:
        self.call("unshare", self.NEWNS)
        self.call("mount", None, "/", None, self.REC | self.PRIVATE, None)
        self.call("mount", str(root), str(root), None, self.BIND, None)
        os.chdir(root)
        for name in ("sys", "dev", "proc"):
            self.call("mount", f"/{name}", name, None, self.BIND | self.REC, None)
        for name in ("tmp", "run"):
            self.call("mount", "tmpfs", name, "tmpfs", 0, None)
        self.call("pivot_root", ".", ".")  # the old root lies on the new one …
        self.call("umount2", ".", self.DETACH)  # … and goes, with the build
        os.chdir("/")


TRY = """
test ! -e "$BUILD"
command -v sbx sandboxd
sandboxd --check --config /etc/sandboxd/sandboxd.toml
sbx version
sbx run -- true
test "$(sbx run -- sh -c 'echo from inside')" = 'from inside'
sandboxd --config /etc/sandboxd/sandboxd.toml >/tmp/log 2>&1 &
daemon=$!
n=0
until sbx ls >/dev/null 2>&1; do
  n=$((n+1))
  if test $n = 300; then cat /tmp/log; exit 1; fi
  sleep 0.1
done
SANDBOXD_ENDPOINT=unix:///run/sandboxd/sandboxd.sock sbx run -- true
kill $daemon
wait $daemon
echo all of it works
"""
ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LANG": "C.UTF-8"}


def main() -> int:
    build, work = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    if os.geteuid() != 0 or not (DPKG / "status").exists():
        print("needs root and a Debian system")
        return SKIPPED
    shutil.rmtree(work, ignore_errors=True)
    root = work / "root"
    root.mkdir(parents=True)
    run("cpack", "-G", "DEB", "--config", str(build / "CPackConfig.cmake"), "-B", str(work), cwd=work)
    package = next(work.glob("*.deb"))

    depends = run("dpkg-deb", "-f", str(package), "Depends").strip()
    print("Depends:", depends)
    for library in ("libc6", "libstdc++6", "libsodium23", "libseccomp2", "libssl3"):
        if library not in depends:
            sys.exit(f"{library} is missing from the dependencies")
    installed = Installed()
    names = installed.closure(depends)
    copy_packages(installed, names, root)
    (root / "root").mkdir(exist_ok=True)
    run("dpkg", f"--root={root}", "--install", str(package))
    size = sum(path.lstat().st_size for path in root.rglob("*") if path.is_file() and not path.is_symlink()) >> 20
    print(f"a root of {len(names)} packages and this one, {size} MiB; the package has {package.stat().st_size >> 20} MiB")
    mounts = Mounts()
    tried = run("/bin/sh", "-e", "-c", TRY, env=ENVIRONMENT | {"BUILD": str(build)}, preexec_fn=lambda: mounts.enter(root))
    if "all of it works" not in tried:
        sys.exit(tried)

    run("dpkg", f"--root={root}", "--remove", "sandbox")
    left = [str(path.relative_to(root)) for path in root.rglob("*sandbox*") if "var/lib" not in str(path) and path.is_file()]
    if left != ["etc/sandboxd/sandboxd.toml"]:  # a conffile stays until it is purged
        sys.exit(f"removing it leaves {left}")
    shutil.rmtree(work)
    return 0


if __name__ == "__main__":
    sys.exit(main())

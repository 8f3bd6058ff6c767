"""Conan recipe: conan create deploy/conan --build=missing

With -o "&:system_deps=True" the libraries come from the system (Debian 12: scripts/install-deps) instead of ConanCenter; the static
programs of the runtime always take libsodium, zstd and musl from there (cmake/SandboxGuest.cmake).
"""

import os
import re
import shutil

from conan import ConanFile
from conan.errors import ConanInvalidConfiguration
from conan.tools.build import check_min_cppstd
from conan.tools.cmake import CMake, CMakeDeps, CMakeToolchain, cmake_layout
from conan.tools.files import copy, load
from conan.tools.gnu import PkgConfigDeps
from conan.tools.system.package_manager import Apt

required_conan_version = ">=2.0"


class SandboxConan(ConanFile):
    name = "sandbox"
    description = "Isolated environments for untrusted commands: embeddable runtime and client SDK"
    license = "MIT"
    topics = ("sandbox", "isolation", "namespaces", "containers")
    package_type = "static-library"
    settings = "os", "arch", "compiler", "build_type"
    options = {"runtime": [True, False], "system_deps": [True, False]}
    default_options = {"runtime": True, "system_deps": False}

    @property
    def _root(self) -> str:
        return os.path.join(self.recipe_folder, os.pardir, os.pardir)

    def set_version(self) -> None:
        project = load(self, os.path.join(self._root, "CMakeLists.txt"))
        self.version = re.search(r"project\(sandbox VERSION ([0-9.]+)", project).group(1)

    def export_sources(self) -> None:
        # Folder by folder: copy() walks everything below the one it is given, and a checkout has build directories.
        for folder in ("include", "lib", "tools", "cmake", "bindings/c", "docs", "deploy"):
            copy(self, "*", os.path.join(self._root, folder), os.path.join(self.export_sources_folder, folder), excludes="*__pycache__*")
        for file in ("CMakeLists.txt", "LICENSE", "README.md", "bindings/CMakeLists.txt"):
            folder, name = os.path.split(file)
            shutil.copy2(os.path.join(self._root, folder, name), os.path.join(self.export_sources_folder, folder, name))

    def validate(self) -> None:
        check_min_cppstd(self, 20)
        if self.settings.os != "Linux":
            raise ConanInvalidConfiguration("sandbox builds on Linux")
        if self.options.runtime and self.settings.arch not in ("x86_64", "armv8"):
            raise ConanInvalidConfiguration("the runtime is written for x86_64 and armv8")

    def requirements(self) -> None:
        if self.options.system_deps:
            return
        self.requires("boost/[>=1.81 <2]", options={"header_only": True})
        self.requires("libsodium/[>=1.0.18 <2]")
        self.requires("zstd/[>=1.5 <2]")
        self.requires("simdjson/[>=3 <4]")
        self.requires("openssl/[>=3 <4]")
        if self.options.runtime:
            self.requires("libseccomp/[>=2.5 <3]")
            self.requires("libarchive/[>=3.6 <4]")

    def system_requirements(self) -> None:
        packages = []
        if self.options.system_deps:
            packages += ["libsodium-dev", "libzstd-dev", "libsimdjson-dev", "libssl-dev", "libboost1.81-dev", "pkg-config"]
        if self.options.runtime:
            packages += ["musl-dev", "musl-tools", "libsodium-dev", "libzstd-dev"]
            if self.options.system_deps:
                packages += ["libseccomp-dev", "libarchive-dev"]
        if packages:
            Apt(self).install(sorted(set(packages)), check=True)

    def layout(self) -> None:
        cmake_layout(self)

    def generate(self) -> None:
        toolchain = CMakeToolchain(self)
        toolchain.cache_variables["SANDBOX_RUNTIME"] = bool(self.options.runtime)
        for part in ("DAEMON", "TESTS", "EXAMPLES", "BENCHMARKS"):
            toolchain.cache_variables[f"SANDBOX_{part}"] = False
        toolchain.generate()
        CMakeDeps(self).generate()
        PkgConfigDeps(self).generate()

    def build(self) -> None:
        cmake = CMake(self)
        cmake.configure()
        cmake.build()

    def package(self) -> None:
        CMake(self).install()
        copy(self, "LICENSE", self.source_folder, os.path.join(self.package_folder, "licenses"))

    def package_info(self) -> None:
        # Its own sandboxConfig.cmake and sandbox.pc are used as they are.
        self.cpp_info.set_property("cmake_find_mode", "none")
        self.cpp_info.builddirs = [os.path.join("lib", "cmake", "sandbox")]
        self.cpp_info.libs = ["sandbox++"]
        self.cpp_info.system_libs = ["pthread"]
        helpers = os.path.join(self.package_folder, "libexec", "sandbox")
        self.conf_info.define("user.sandbox:helper_dir", helpers)
        self.runenv_info.define_path("SANDBOX_BIN_DIR", helpers)

#!/usr/bin/env python3
"""recipes.py SOURCE_DIR VERSION CMAKE: what can be checked of the vcpkg port and the Conan recipe without their registries.

The port's script runs with stand-ins for vcpkg's functions, which note how they were called.
"""

import ast
import json
import pathlib
import re
import subprocess
import sys
import tempfile

# vcpkg's functions that a port may call, as far as ours does; anything else is an unknown command and fails.
STAND_INS = """
cmake_minimum_required(VERSION 3.23)
function(note name)
  file(APPEND "${NOTES}" "${name} ${ARGN}\\n")
endfunction()
function(vcpkg_check_features)
  cmake_parse_arguments(PARSE_ARGV 0 arg "" "OUT_FEATURE_OPTIONS" "FEATURES")
  list(GET arg_FEATURES 0 feature)
  list(GET arg_FEATURES 1 variable)
  if(feature IN_LIST FEATURES)
    set(${arg_OUT_FEATURE_OPTIONS} -D${variable}=ON PARENT_SCOPE)
  else()
    set(${arg_OUT_FEATURE_OPTIONS} -D${variable}=OFF PARENT_SCOPE)
  endif()
endfunction()
foreach(name IN ITEMS vcpkg_cmake_configure vcpkg_cmake_install vcpkg_cmake_config_fixup vcpkg_fixup_pkgconfig vcpkg_copy_tools
    vcpkg_install_copyright)
  cmake_language(EVAL CODE "function(${name})\\n note(${name} \\${ARGN})\\nendfunction()")
endforeach()
include("${CURRENT_PORT_DIR}/portfile.cmake")
"""


def fail(text: str) -> None:
    sys.exit(f"recipes: {text}")


def check_manifest(manifest: dict, version: str, features_with_options: set[str]) -> None:
    known = {"name", "version", "port-version", "description", "homepage", "license", "supports", "dependencies", "default-features", "features"}
    if unknown := manifest.keys() - known:
        fail(f"vcpkg.json has unknown keys {unknown}")
    if manifest["version"] != version:
        fail(f"vcpkg.json says {manifest['version']}, the project is {version}")
    names = lambda dependencies: [one if isinstance(one, str) else one["name"] for one in dependencies]
    for listed in [manifest["dependencies"]] + [feature.get("dependencies", []) for feature in manifest["features"].values()]:
        if names(listed) != sorted(names(listed)):
            fail(f"vcpkg format-manifest would sort {names(listed)}")
        for name in names(listed):
            if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name):
                fail(f"{name} is no vcpkg port name")
    for feature in manifest["default-features"]:
        if feature not in manifest["features"] or feature not in features_with_options:
            fail(f"feature {feature} is default and not described, or nothing comes of it")


def run_port(port: pathlib.Path, cmake: str, source: pathlib.Path, features: list[str]) -> str:
    with tempfile.TemporaryDirectory() as scratch:
        notes, script = pathlib.Path(scratch, "notes"), pathlib.Path(scratch, "run.cmake")
        packages = pathlib.Path(scratch, "packages")
        helpers = packages / "libexec/sandbox"
        helpers.mkdir(parents=True)
        (helpers / "sandbox-agent").write_text("")
        script.write_text(STAND_INS)
        subprocess.run([cmake, f"-DNOTES={notes}", f"-DCURRENT_PORT_DIR={port}", f"-DCURRENT_PACKAGES_DIR={packages}", "-DPORT=sandbox",
                        f"-DFEATURES={';'.join(features)}", "-P", script], check=True, timeout=60)
        if not (packages / "share/sandbox/usage").exists():
            fail("the port installs no usage")
        if ("runtime" in features) != (packages / "tools/sandbox/sandbox-agent").exists():
            fail("the helper programs belong to the feature runtime")
        said = notes.read_text()
    if f"SOURCE_PATH {source}" not in said.replace(";", " "):
        fail(f"the port does not build this checkout: {said}")
    return said


def main() -> None:
    source, version, cmake = pathlib.Path(sys.argv[1]).resolve(), sys.argv[2], sys.argv[3]
    port = source / "deploy/vcpkg/sandbox"
    options = set(re.findall(r"^option\((SANDBOX_\w+)", (source / "CMakeLists.txt").read_text(), re.M))
    with_feature, without = run_port(port, cmake, source, ["core", "runtime"]), run_port(port, cmake, source, ["core"])
    for said, wanted in ((with_feature, "-DSANDBOX_RUNTIME=ON"), (without, "-DSANDBOX_RUNTIME=OFF")):
        if wanted not in said:
            fail(f"{wanted} is not given")
        for option in re.findall(r"-D(\w+)=", said):
            if option not in options:
                fail(f"the project has no option {option}")
    check_manifest(json.loads((port / "vcpkg.json").read_text()), version, {"runtime"})

    # Names and options of the recipe; that it builds is tried with Conan itself (docs/HACKING.md).
    recipe = (source / "deploy/conan/conanfile.py").read_text()
    ast.parse(recipe)
    ast.parse((source / "deploy/conan/test_package/conanfile.py").read_text())
    for part in re.search(r'for part in \(([^)]*)\)', recipe).group(1).replace('"', "").replace(",", " ").split():
        if f"SANDBOX_{part}" not in options:
            fail(f"the recipe sets SANDBOX_{part}, which is no option")
    if not re.search(rf"project\(sandbox VERSION {re.escape(version)} ", (source / "CMakeLists.txt").read_text()):
        fail("the recipe does not find the version")
    header = (source / "include/sandbox/version.hpp").read_text()
    if f'"{version}"' not in header:
        fail(f"version.hpp does not say {version}")
    print("the vcpkg port and the Conan recipe agree with the project")


if __name__ == "__main__":
    main()

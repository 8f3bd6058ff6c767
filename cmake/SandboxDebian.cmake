# `cpack -G DEB` in the build directory: one package with library, headers, daemon, sbx, helper programs, unit and completions.
set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME sandbox)
set(CPACK_PACKAGE_VENDOR "The Sandbox authors")
set(CPACK_PACKAGE_CONTACT "The Sandbox authors <sandbox@localhost>")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "isolated environments for untrusted commands")
set(CPACK_PACKAGE_DESCRIPTION "Runs untrusted commands in sandboxes of Linux namespaces, cgroups, seccomp and Landlock: from your own program
 (C++20 and C libraries), from the command line (sbx), or as a service (sandboxd).")
set(CPACK_SET_DESTDIR ON)  # so that what belongs into /etc gets there
set(CPACK_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_VERBATIM_VARIABLES ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION admin)
# What the programs and libsandbox.so link, by what is in them. Building against libsandbox++.a takes its parts, too.
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_SUGGESTS
  "libsodium-dev, libzstd-dev, libsimdjson-dev, libssl-dev, libseccomp-dev, libarchive-dev, pkg-config, nftables, iproute2")
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)
file(WRITE ${PROJECT_BINARY_DIR}/package/conffiles "/etc/sandboxd/sandboxd.toml\n")
file(WRITE ${PROJECT_BINARY_DIR}/package/triggers "activate-noawait ldconfig\n")
set(CPACK_DEBIAN_PACKAGE_CONTROL_EXTRA ${PROJECT_BINARY_DIR}/package/conffiles ${PROJECT_BINARY_DIR}/package/triggers)
include(CPack)

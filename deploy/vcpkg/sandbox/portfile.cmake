# An overlay port of this checkout: vcpkg install sandbox --overlay-ports=deploy/vcpkg
get_filename_component(SOURCE_PATH "${CURRENT_PORT_DIR}/../../.." ABSOLUTE)

vcpkg_check_features(OUT_FEATURE_OPTIONS feature_options FEATURES runtime SANDBOX_RUNTIME)
vcpkg_cmake_configure(
  SOURCE_PATH "${SOURCE_PATH}"
  OPTIONS
    ${feature_options}
    -DSANDBOX_DAEMON=OFF
    -DSANDBOX_TESTS=OFF
    -DSANDBOX_EXAMPLES=OFF
    -DSANDBOX_BENCHMARKS=OFF)
vcpkg_cmake_install()
vcpkg_cmake_config_fixup(PACKAGE_NAME sandbox CONFIG_PATH lib/cmake/sandbox)
vcpkg_fixup_pkgconfig()

if("runtime" IN_LIST FEATURES)
  vcpkg_copy_tools(TOOL_NAMES sbx AUTO_CLEAN)
  # vcpkg has no libexec; sandbox_HELPER_DIR and libsandbox.so look beside the library's share and tools directories.
  file(MAKE_DIRECTORY "${CURRENT_PACKAGES_DIR}/tools/${PORT}")
  file(GLOB helpers "${CURRENT_PACKAGES_DIR}/libexec/sandbox/*")
  file(COPY ${helpers} DESTINATION "${CURRENT_PACKAGES_DIR}/tools/${PORT}")
endif()
file(REMOVE_RECURSE "${CURRENT_PACKAGES_DIR}/debug/include" "${CURRENT_PACKAGES_DIR}/debug/share" "${CURRENT_PACKAGES_DIR}/debug/libexec")
file(INSTALL "${CMAKE_CURRENT_LIST_DIR}/usage" DESTINATION "${CURRENT_PACKAGES_DIR}/share/${PORT}")
vcpkg_install_copyright(FILE_LIST "${SOURCE_PATH}/LICENSE")

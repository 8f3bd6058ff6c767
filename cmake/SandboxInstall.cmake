# What `cmake --install` puts where, and what users of CMake link: sandbox::client, sandbox::runtime, sandbox::c.
#
# C++ is promised source compatibility only, so the C++ interface is a static archive, libsandbox++.a, of all modules behind the
# public headers, private ones included. The binary interface is libsandbox.so.0 (include/sandbox/c.h), which exports sbx_* alone.

# Targets of the same names for those who use add_subdirectory.
add_library(sandbox_component_client INTERFACE)
target_link_libraries(sandbox_component_client INTERFACE $<BUILD_INTERFACE:sandbox_api>)
add_library(sandbox::client ALIAS sandbox_component_client)
if(SANDBOX_RUNTIME)
  add_library(sandbox_component_runtime INTERFACE)
  target_link_libraries(sandbox_component_runtime INTERFACE $<BUILD_INTERFACE:sandbox_api> sandbox_component_client)
  add_library(sandbox::runtime ALIAS sandbox_component_runtime)
endif()
if(TARGET sandbox_shared)
  add_library(sandbox::c ALIAS sandbox_shared)
endif()

if(NOT SANDBOX_INSTALL)
  return()
endif()
include(CMakePackageConfigHelpers)

# ---- the archive: every module that the public headers stand on ----
set(left api)
if(TARGET sandbox_prove)
  list(APPEND left prove)
endif()
set(modules)
while(left)
  list(POP_FRONT left module)
  if(NOT module IN_LIST modules)
    list(APPEND modules ${module})
    get_property(uses GLOBAL PROPERTY sandbox_uses_of_${module})
    list(APPEND left ${uses})
  endif()
endwhile()
set(objects)
foreach(module IN LISTS modules)
  get_target_property(type sandbox_${module} TYPE)
  if(type STREQUAL STATIC_LIBRARY)
    list(APPEND objects $<TARGET_OBJECTS:sandbox_${module}>)
  endif()
endforeach()
add_library(sandbox_archive STATIC ${objects})
set_target_properties(sandbox_archive PROPERTIES OUTPUT_NAME sandbox++ LINKER_LANGUAGE CXX EXPORT_NAME archive
  ARCHIVE_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/lib)
target_compile_features(sandbox_archive INTERFACE cxx_std_20)
target_include_directories(sandbox_archive INTERFACE $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
# Found again by sandboxConfig.cmake.
set(client_needs PkgConfig::sodium PkgConfig::zstd PkgConfig::simdjson PkgConfig::openssl Threads::Threads)
set(runtime_needs PkgConfig::seccomp PkgConfig::archive)
target_link_libraries(sandbox_component_client INTERFACE $<INSTALL_INTERFACE:sandbox::archive> "$<INSTALL_INTERFACE:${client_needs}>")
set_target_properties(sandbox_component_client PROPERTIES EXPORT_NAME client)
set(exported sandbox_archive sandbox_component_client)
if(SANDBOX_RUNTIME)
  # In this order: the archive needs them.
  target_link_libraries(sandbox_component_runtime INTERFACE "$<INSTALL_INTERFACE:${runtime_needs}>")
  set_target_properties(sandbox_component_runtime PROPERTIES EXPORT_NAME runtime)
  list(APPEND exported sandbox_component_runtime)
endif()

set(cmake_dir ${CMAKE_INSTALL_LIBDIR}/cmake/sandbox)
install(TARGETS ${exported} EXPORT sandboxTargets ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(EXPORT sandboxTargets NAMESPACE sandbox:: DESTINATION ${cmake_dir})
install(CODE [[
  if(CMAKE_INSTALL_DO_STRIP)  # CMake itself strips programs and shared libraries only
    file(GLOB archives "$ENV{DESTDIR}${CMAKE_INSTALL_PREFIX}/lib*/libsandbox++.a" "$ENV{DESTDIR}${CMAKE_INSTALL_PREFIX}/lib/*/libsandbox++.a")
    foreach(archive IN LISTS archives)
      execute_process(COMMAND strip --strip-debug ${archive} COMMAND_ERROR_IS_FATAL ANY)
    endforeach()
  endif()]])
install(DIRECTORY ${PROJECT_SOURCE_DIR}/include/sandbox DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} FILES_MATCHING PATTERN "*.hpp" PATTERN "*.h")

if(TARGET sandbox_shared)
  set_target_properties(sandbox_shared PROPERTIES EXPORT_NAME c)
  target_include_directories(sandbox_shared INTERFACE $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
  install(TARGETS sandbox_shared EXPORT sandboxCTargets LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
  install(EXPORT sandboxCTargets NAMESPACE sandbox:: DESTINATION ${cmake_dir})
endif()

# ---- programs that the library starts; people do not ----
foreach(helper IN ITEMS sandbox-agent sandbox-launcher sandbox-probe)
  if(TARGET ${helper})
    get_target_property(program ${helper} SANDBOX_PROGRAM)
    install(PROGRAMS ${program} DESTINATION ${CMAKE_INSTALL_LIBEXECDIR}/sandbox)
  endif()
endforeach()

# ---- find_package and pkg-config ----
configure_package_config_file(${PROJECT_SOURCE_DIR}/cmake/sandboxConfig.cmake.in ${PROJECT_BINARY_DIR}/package/sandboxConfig.cmake
  INSTALL_DESTINATION ${cmake_dir} PATH_VARS CMAKE_INSTALL_LIBEXECDIR)
write_basic_package_version_file(${PROJECT_BINARY_DIR}/package/sandboxConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/package/sandboxConfig.cmake ${PROJECT_BINARY_DIR}/package/sandboxConfigVersion.cmake
  DESTINATION ${cmake_dir})

set(pc_requires "libsodium, libzstd, simdjson, openssl")
if(SANDBOX_RUNTIME)
  string(APPEND pc_requires ", libseccomp, libarchive")
endif()
# From lib/pkgconfig back to the prefix, so that a tree can be moved.
file(RELATIVE_PATH pc_up /${CMAKE_INSTALL_LIBDIR}/pkgconfig /)
string(REGEX REPLACE "/$" "" pc_up "${pc_up}")
foreach(name IN ITEMS sandbox sandbox-c)
  if(name STREQUAL sandbox-c AND NOT TARGET sandbox_shared)
    continue()
  endif()
  configure_file(${PROJECT_SOURCE_DIR}/cmake/${name}.pc.in ${PROJECT_BINARY_DIR}/package/${name}.pc @ONLY)
  install(FILES ${PROJECT_BINARY_DIR}/package/${name}.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
endforeach()

# ---- completions, the service ----
if(TARGET sbx)
  set(completions ${PROJECT_BINARY_DIR}/package/completions)
  add_custom_command(OUTPUT ${completions}/sbx ${completions}/_sbx ${completions}/sbx.fish
    COMMAND ${CMAKE_COMMAND} -E make_directory ${completions}
    COMMAND sbx completion bash > ${completions}/sbx
    COMMAND sbx completion zsh > ${completions}/_sbx
    COMMAND sbx completion fish > ${completions}/sbx.fish
    DEPENDS sbx VERBATIM COMMENT "Writing the completions of sbx")
  add_custom_target(sbx_completions ALL DEPENDS ${completions}/sbx)
  install(FILES ${completions}/sbx DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions)
  install(FILES ${completions}/_sbx DESTINATION ${CMAKE_INSTALL_DATADIR}/zsh/vendor-completions)
  install(FILES ${completions}/sbx.fish DESTINATION ${CMAKE_INSTALL_DATADIR}/fish/vendor_completions.d)
endif()
if(TARGET sandboxd)
  configure_file(${PROJECT_SOURCE_DIR}/cmake/install_service.cmake.in ${PROJECT_BINARY_DIR}/package/install_service.cmake @ONLY)
  install(SCRIPT ${PROJECT_BINARY_DIR}/package/install_service.cmake)
endif()
install(FILES ${PROJECT_SOURCE_DIR}/LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR} RENAME copyright)
install(FILES ${PROJECT_SOURCE_DIR}/README.md ${PROJECT_SOURCE_DIR}/docs/DEPLOYMENT.md ${PROJECT_SOURCE_DIR}/docs/THREAT_MODEL.md
  DESTINATION ${CMAKE_INSTALL_DOCDIR})

include(SandboxDebian)

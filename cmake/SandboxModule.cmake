# sandbox_add_module(NAME <name> SOURCES … USES <modules…> [LINK <targets…>] [GUEST])
# One folder, one static library target `sandbox_<name>`, one namespace. USES are other modules of ours (the arrows of
# docs/ARCHITECTURE.md); LINK are third-party targets. GUEST also builds the sources for the guest toolchain (musl,
# no exceptions) as `sandbox_guest_<name>`; such a module may use only GUEST modules and header-only std.
add_library(sandbox_flags INTERFACE)
target_compile_options(sandbox_flags INTERFACE
  -Wall -Wextra -Wshadow -Wnon-virtual-dtor -Wno-missing-field-initializers
  $<$<BOOL:${SANDBOX_WERROR}>:-Werror>)
target_include_directories(sandbox_flags INTERFACE
  ${PROJECT_SOURCE_DIR}/include ${PROJECT_SOURCE_DIR}/lib)
target_compile_definitions(sandbox_flags INTERFACE _FILE_OFFSET_BITS=64)
if(SANDBOX_SANITIZE)
  target_compile_options(sandbox_flags INTERFACE -fsanitize=${SANDBOX_SANITIZE} -fno-omit-frame-pointer)
  target_link_options(sandbox_flags INTERFACE -fsanitize=${SANDBOX_SANITIZE})
  # An error nobody looked at ends the program: see include/sandbox/error.hpp.
  target_compile_definitions(sandbox_flags INTERFACE SANDBOX_CHECK_ERRORS=1)
  if(SANDBOX_SANITIZE MATCHES "undefined")
    target_compile_options(sandbox_flags INTERFACE -fno-sanitize-recover=undefined)
  endif()
endif()

# A dozen sources share what their headers cost. The names in their anonymous namespaces then meet: they are told apart.
if(SANDBOX_UNITY)
  set(CMAKE_UNITY_BUILD ON)
  set(CMAKE_UNITY_BUILD_BATCH_SIZE 12)
  target_compile_options(sandbox_flags INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-Wno-subobject-linkage>)  # takes a source for a header
endif()

# Sanitized programs take several times as long; their tests may.
if(SANDBOX_SANITIZE)
  set(SANDBOX_TEST_TIMEOUT_FACTOR 5 CACHE STRING "Every test's time limit is multiplied by this")
else()
  set(SANDBOX_TEST_TIMEOUT_FACTOR 1 CACHE STRING "Every test's time limit is multiplied by this")
endif()

# sandbox_set_timeout(<test> <seconds>): the time limit of a test registered by hand.
function(sandbox_set_timeout test seconds)
  math(EXPR seconds "${seconds} * ${SANDBOX_TEST_TIMEOUT_FACTOR}")
  set_tests_properties(${test} PROPERTIES TIMEOUT ${seconds})
endfunction()

function(sandbox_add_module)
  cmake_parse_arguments(arg "GUEST" "NAME" "SOURCES;USES;LINK" ${ARGN})
  set(target sandbox_${arg_NAME})
  set(uses ${arg_USES})
  list(TRANSFORM uses PREPEND sandbox_)
  if(arg_SOURCES)
    add_library(${target} STATIC ${arg_SOURCES})
    target_link_libraries(${target} PUBLIC sandbox_flags ${uses} ${arg_LINK})
    set_target_properties(${target} PROPERTIES CXX_VISIBILITY_PRESET hidden VISIBILITY_INLINES_HIDDEN ON)
  else()
    add_library(${target} INTERFACE)
    target_link_libraries(${target} INTERFACE sandbox_flags ${uses} ${arg_LINK})
  endif()
  set_property(GLOBAL PROPERTY sandbox_uses_of_${arg_NAME} ${arg_USES})  # what is installed: cmake/SandboxInstall.cmake
  if(arg_GUEST AND SANDBOX_RUNTIME)
    sandbox_add_guest_library(NAME ${arg_NAME} SOURCES ${arg_SOURCES} USES ${arg_USES})
  endif()
endfunction()

# sandbox_add_test(NAME <dotted.name> SOURCES … USES <modules…> [LINK …] [LABELS …] [TIMEOUT seconds])
function(sandbox_add_test)
  cmake_parse_arguments(arg "" "NAME;TIMEOUT" "SOURCES;USES;LINK;LABELS;DEPENDS" ${ARGN})
  set(uses ${arg_USES})
  list(TRANSFORM uses PREPEND sandbox_)
  if(NOT SANDBOX_RUNTIME)
    # What tests a part that this build leaves out goes with it.
    foreach(use IN LISTS uses)
      if(NOT TARGET ${use})
        return()
      endif()
    endforeach()
  endif()
  add_executable(${arg_NAME} ${arg_SOURCES})
  set_target_properties(${arg_NAME} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/tests)
  target_include_directories(${arg_NAME} PRIVATE ${PROJECT_SOURCE_DIR}/tests)
  target_link_libraries(${arg_NAME} PRIVATE sandbox_flags ${uses} ${arg_LINK} GTest::gmock GTest::gtest GTest::gtest_main)
  foreach(program IN LISTS arg_DEPENDS)
    if(TARGET ${program})  # absent when the runtime is not built
      add_dependencies(${arg_NAME} ${program})
    endif()
  endforeach()
  if(NOT arg_TIMEOUT)
    set(arg_TIMEOUT 120)
  endif()
  add_test(NAME ${arg_NAME} COMMAND ${arg_NAME})
  sandbox_set_timeout(${arg_NAME} ${arg_TIMEOUT})
  set_tests_properties(${arg_NAME} PROPERTIES LABELS "${arg_LABELS}"
    ENVIRONMENT "SANDBOX_BIN_DIR=${CMAKE_RUNTIME_OUTPUT_DIRECTORY};SANDBOX_SOURCE_DIR=${PROJECT_SOURCE_DIR}")
endfunction()

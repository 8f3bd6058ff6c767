# The guest toolchain: code that runs inside a sandbox (agent) or right before it (launcher) is a static-pie against
# musl, because starting a glibc program costs about 0.6 ms in a virtual machine (its start-up executes some eighty
# trapping CPUID instructions) and a musl one about 0.2. libstdc++ is used for its headers only: containers, spans,
# algorithms; no exceptions, RTTI, iostreams or locales. See docs/adr/0002-guest-toolchain.md.
if(NOT SANDBOX_RUNTIME)
  return()
endif()

set(guest_dir ${PROJECT_BINARY_DIR}/guest)
set(guest_cxx g++)
find_program(SANDBOX_GUEST_CXX NAMES g++-12 g++ REQUIRED DOC "GCC used for the guest programs")
execute_process(COMMAND ${SANDBOX_GUEST_CXX} -dumpmachine OUTPUT_VARIABLE guest_triple OUTPUT_STRIP_TRAILING_WHITESPACE)
execute_process(COMMAND ${SANDBOX_GUEST_CXX} -dumpversion OUTPUT_VARIABLE guest_version OUTPUT_STRIP_TRAILING_WHITESPACE)
execute_process(COMMAND ${SANDBOX_GUEST_CXX} -print-file-name=include OUTPUT_VARIABLE guest_gcc_include OUTPUT_STRIP_TRAILING_WHITESPACE)
execute_process(COMMAND ${SANDBOX_GUEST_CXX} -print-file-name=libstdc++.a OUTPUT_VARIABLE guest_libstdcxx OUTPUT_STRIP_TRAILING_WHITESPACE)
execute_process(COMMAND ${SANDBOX_GUEST_CXX} -print-libgcc-file-name OUTPUT_VARIABLE guest_libgcc OUTPUT_STRIP_TRAILING_WHITESPACE)
string(REGEX REPLACE "-.*" "" guest_arch ${guest_triple})
set(musl_lib /usr/lib/${guest_arch}-linux-musl)
set(musl_include /usr/include/${guest_arch}-linux-musl)
if(NOT EXISTS ${musl_lib}/libc.a)
  message(FATAL_ERROR "musl not found at ${musl_lib}: apt-get install musl-dev musl-tools (or scripts/install-deps)")
endif()

# Kernel headers without the rest of /usr/include.
file(MAKE_DIRECTORY ${guest_dir}/kernel-headers)
file(CREATE_LINK /usr/include/linux ${guest_dir}/kernel-headers/linux SYMBOLIC)
file(CREATE_LINK /usr/include/asm-generic ${guest_dir}/kernel-headers/asm-generic SYMBOLIC)
file(CREATE_LINK /usr/include/${guest_triple}/asm ${guest_dir}/kernel-headers/asm SYMBOLIC)
# Single third-party headers the guest may see (their archives are linked statically).
file(MAKE_DIRECTORY ${guest_dir}/third-party)
file(CREATE_LINK /usr/include/sodium.h ${guest_dir}/third-party/sodium.h SYMBOLIC)
file(CREATE_LINK /usr/include/sodium ${guest_dir}/third-party/sodium SYMBOLIC)
file(CREATE_LINK /usr/include/zstd.h ${guest_dir}/third-party/zstd.h SYMBOLIC)
file(CREATE_LINK /usr/include/zstd_errors.h ${guest_dir}/third-party/zstd_errors.h SYMBOLIC)

set(guest_compile_flags
  -std=c++20 -O2 -g1 -fPIE -ffunction-sections -fdata-sections -fstack-protector-strong
  -fno-exceptions -fno-rtti -fno-threadsafe-statics -fno-asynchronous-unwind-tables
  -D_GLIBCXX_EXTERN_TEMPLATE=0 -D_FILE_OFFSET_BITS=64 -D_GNU_SOURCE -DSANDBOX_GUEST=1
  -Wall -Wextra -Wshadow -Wno-missing-field-initializers
  -nostdinc
  -isystem /usr/include/c++/${guest_version} -isystem /usr/include/${guest_triple}/c++/${guest_version}
  -isystem ${musl_include} -isystem ${guest_gcc_include}
  -idirafter ${guest_dir}/kernel-headers -idirafter ${guest_dir}/third-party
  -include ${PROJECT_SOURCE_DIR}/cmake/guest/compat.hpp
  -I${PROJECT_SOURCE_DIR}/include -I${PROJECT_SOURCE_DIR}/lib)
if(SANDBOX_WERROR)
  list(APPEND guest_compile_flags -Werror)
endif()

# Sources that each include a dozen of the given ones.
function(sandbox_guest_unity out prefix)
  list(TRANSFORM ARGN REPLACE "^([^/].*)$" "${CMAKE_CURRENT_SOURCE_DIR}/\\1" OUTPUT_VARIABLE sources)
  list(LENGTH sources count)
  set(units)
  foreach(begin RANGE 0 ${count} 12)
    if(begin LESS count)
      list(SUBLIST sources ${begin} 12 batch)
      set(text)
      foreach(source IN LISTS batch)
        string(APPEND text "#include \"${source}\"\n")
      endforeach()
      file(CONFIGURE OUTPUT ${prefix}_${begin}.cpp CONTENT "${text}" @ONLY)
      list(APPEND units ${prefix}_${begin}.cpp)
    endif()
  endforeach()
  set(${out} ${units} PARENT_SCOPE)
endfunction()

# Compiles SOURCES with the guest flags; appends the objects to OUT. `generated` of the caller: what must be there first.
function(sandbox_guest_objects out name)
  set(objects)
  foreach(source IN LISTS ARGN)
    get_filename_component(source ${source} ABSOLUTE)
    file(RELATIVE_PATH relative ${PROJECT_SOURCE_DIR} ${source})
    string(REPLACE "/" "_" object ${relative})
    set(object ${guest_dir}/${name}/${object}.o)
    add_custom_command(OUTPUT ${object}
      COMMAND ${CMAKE_COMMAND} -E make_directory ${guest_dir}/${name}
      COMMAND ${CMAKE_CXX_COMPILER_LAUNCHER} ${SANDBOX_GUEST_CXX} ${guest_compile_flags} -MD -MF ${object}.d -c ${source} -o ${object}
      DEPENDS ${source} ${generated} DEPFILE ${object}.d VERBATIM
      COMMENT "Building guest object ${relative}")
    list(APPEND objects ${object})
  endforeach()
  set(${out} ${objects} PARENT_SCOPE)
endfunction()

# sandbox_add_guest_library(NAME n SOURCES … USES …): called by sandbox_add_module(GUEST).
function(sandbox_add_guest_library)
  cmake_parse_arguments(arg "" "NAME" "SOURCES;USES" ${ARGN})
  set(sources ${arg_SOURCES})
  set(generated ${arg_SOURCES})
  list(FILTER generated INCLUDE REGEX "^${PROJECT_BINARY_DIR}/")
  if(SANDBOX_UNITY)
    sandbox_guest_unity(sources ${guest_dir}/${arg_NAME}/unity ${sources})
  endif()
  sandbox_guest_objects(objects ${arg_NAME} ${sources})
  set(archive ${guest_dir}/libsandbox_guest_${arg_NAME}.a)
  add_custom_command(OUTPUT ${archive}
    COMMAND ${CMAKE_COMMAND} -E rm -f ${archive}
    COMMAND ${CMAKE_AR} rcs ${archive} ${objects} DEPENDS ${objects} VERBATIM)
  add_custom_target(sandbox_guest_${arg_NAME} DEPENDS ${archive})
  set(archives ${archive})
  foreach(used IN LISTS arg_USES)
    get_property(more GLOBAL PROPERTY sandbox_guest_archives_${used})
    list(APPEND archives ${more})
  endforeach()
  list(REMOVE_DUPLICATES archives)
  set_property(GLOBAL PROPERTY sandbox_guest_archives_${arg_NAME} ${archives})
endfunction()

# sandbox_add_guest_program(NAME n SOURCES … USES …): a static-pie in bin/, stripped.
function(sandbox_add_guest_program)
  cmake_parse_arguments(arg "" "NAME" "SOURCES;USES;LINK" ${ARGN})
  sandbox_guest_objects(objects ${arg_NAME} ${arg_SOURCES} ${PROJECT_SOURCE_DIR}/cmake/guest/runtime.cpp)
  set(archives)
  foreach(used IN LISTS arg_USES)
    get_property(more GLOBAL PROPERTY sandbox_guest_archives_${used})
    list(APPEND archives ${more})
  endforeach()
  list(REMOVE_DUPLICATES archives)
  set(program ${CMAKE_RUNTIME_OUTPUT_DIRECTORY}/${arg_NAME})
  add_custom_command(OUTPUT ${program}
    COMMAND ${CMAKE_COMMAND} -E make_directory ${CMAKE_RUNTIME_OUTPUT_DIRECTORY}
    COMMAND ${SANDBOX_GUEST_CXX} -static-pie -nostdlib -nostartfiles -Wl,--gc-sections -Wl,-z,relro,-z,now -Wl,-z,noexecstack -Wl,--build-id=none -s
      -o ${program} ${musl_lib}/rcrt1.o ${musl_lib}/crti.o ${objects}
      -Wl,--start-group ${archives} ${arg_LINK} ${guest_libstdcxx} ${musl_lib}/libc.a ${guest_libgcc} -Wl,--end-group ${musl_lib}/crtn.o
    DEPENDS ${objects} ${archives} VERBATIM COMMENT "Linking guest program ${arg_NAME}")
  add_custom_target(${arg_NAME} ALL DEPENDS ${program})
  set_property(TARGET ${arg_NAME} PROPERTY SANDBOX_PROGRAM ${program})
endfunction()

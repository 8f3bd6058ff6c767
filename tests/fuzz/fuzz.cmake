# sandbox_add_fuzzer(NAME <decoder> USES <modules…> [SOURCES <files…>]): called by the folders below. SOURCES: files of lib that
# are compiled along, where their module costs too much or is not to be linked.
include_guard()
find_package(Python3 REQUIRED COMPONENTS Interpreter)
function(sandbox_add_fuzzer)
  cmake_parse_arguments(arg "" "NAME" "USES;SOURCES" ${ARGN})
  list(TRANSFORM arg_SOURCES PREPEND ${PROJECT_SOURCE_DIR}/lib/)
  sandbox_add_test(NAME fuzz.${arg_NAME}.replay SOURCES fuzz.cpp ../replay.cpp ${arg_SOURCES} USES ${arg_USES} LABELS fuzz)
  if(NOT TARGET fuzz.${arg_NAME}.replay)  # of a part that this build leaves out
    return()
  endif()
  target_compile_definitions(fuzz.${arg_NAME}.replay PRIVATE CORPUS="tests/fuzz/${arg_NAME}/corpus.txt")
  if(SANDBOX_FUZZ)
    target_compile_options(sandbox_flags INTERFACE -fsanitize=fuzzer-no-link)  # coverage of everything, the library too
    set(uses ${arg_USES})
    list(TRANSFORM uses PREPEND sandbox_)
    add_executable(fuzz.${arg_NAME} fuzz.cpp ${arg_SOURCES})
    set_target_properties(fuzz.${arg_NAME} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/tests)
    target_link_libraries(fuzz.${arg_NAME} PRIVATE sandbox_flags ${uses})
    target_link_options(fuzz.${arg_NAME} PRIVATE -fsanitize=fuzzer)
    add_custom_command(TARGET fuzz.${arg_NAME} POST_BUILD COMMAND ${Python3_EXECUTABLE}
      ${PROJECT_SOURCE_DIR}/tests/fuzz/unpack.py ${CMAKE_CURRENT_SOURCE_DIR}/corpus.txt
      ${PROJECT_BINARY_DIR}/tests/corpus.${arg_NAME} VERBATIM)
  endif()
endfunction()

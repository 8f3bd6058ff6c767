# Fails when gofmt would change a file. -DGO= -DDIRECTORIES=
execute_process(COMMAND ${GO} env GOROOT OUTPUT_VARIABLE root OUTPUT_STRIP_TRAILING_WHITESPACE COMMAND_ERROR_IS_FATAL ANY)
execute_process(COMMAND ${root}/bin/gofmt -l ${DIRECTORIES} OUTPUT_VARIABLE unformatted COMMAND_ERROR_IS_FATAL ANY)
if(unformatted)
  message(FATAL_ERROR "gofmt would change:\n${unformatted}")
endif()

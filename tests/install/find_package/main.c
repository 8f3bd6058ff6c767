#include <sandbox/c.h>
#include <stdio.h>
#include <string.h>

/* Runs a command in a sandbox. The library finds its helper programs next to itself; argument: a state directory. */
int main(int argc, char **argv) {
  sbx_runtime *runtime = NULL;
  sbx_sandbox *sandbox = NULL;
  sbx_exec_result *result = NULL;
  sbx_error *err = NULL;
  sbx_runtime_options options = SBX_RUNTIME_OPTIONS_INIT;
  sbx_command command = SBX_COMMAND_INIT;
  int good = 0;
  if (argc > 1) options.state_directory = (sbx_view){argv[1], strlen(argv[1])};
  options.launchers = 1;
  command.line = SBX_STR("echo installed");
  if (sbx_runtime_open(&options, &runtime, &err) == SBX_OK && sbx_runtime_create(runtime, NULL, NULL, &sandbox, &err) == SBX_OK &&
      sbx_exec(sandbox, &command, &result, &err) == SBX_OK) {
    const sbx_view text = sbx_exec_result_stdout(result);
    printf("%s", text.data);
    good = text.size == 10 && memcmp(text.data, "installed\n", 10) == 0;
  } else {
    fprintf(stderr, "%s\n", sbx_error_text(err).data);
  }
  sbx_error_free(&err);
  sbx_exec_result_free(&result);
  sbx_sandbox_free(&sandbox);
  sbx_runtime_free(&runtime);
  return good ? 0 : 1;
}

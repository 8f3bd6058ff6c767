#include <memory>

#include "commands/commands.hpp"
#include "output.hpp"

namespace sbx::commands {

Command build() {
  struct Values {
    std::string label, file, directory;
  };
  const auto values = std::make_shared<Values>();
  Command command;
  command.path = "build";
  command.help = "Build a template from a Dockerfile (not yet: it waits for images)";
  command.examples = "Instead, today:\n"
                     "  id=$(sbx create --ttl 1h); sbx exec $id -- ./setup.sh; sbx tpl save --label mine $id; sbx rm $id\n"
                     "  sbx run --upload ./setup.sh:/root/ --save-template mine -- sh /root/setup.sh\n";
  command.options = {
      {.names = "--label,-t", .into = &values->label, .help = "Label of the template", .value = "LABEL"},
      {.names = "--file,-f", .into = &values->file, .help = "The Dockerfile", .value = "FILE", .completes = Completes::files},
      {.names = "DIR", .into = &values->directory, .help = "What the Dockerfile may copy from", .completes = Completes::directories},
  };
  command.run = [values](const Common& common) {
    return fail(
        common, sandbox::Error(sandbox::ErrorCode::unsupported, "Dockerfiles are not built yet"),
        "what works: make a sandbox (sbx create), set it up (sbx exec, sbx fs upload), then sbx tpl save --label LABEL ID; or all in "
        "one with sbx run --save-template LABEL");
  };
  return command;
}

}  // namespace sbx::commands

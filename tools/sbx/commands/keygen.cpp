#include <memory>

#include "commands/commands.hpp"
#include "output.hpp"
#include "signing.hpp"

namespace sbx::commands {

Command keygen() {
  const auto path = std::make_shared<std::string>();
  Command command;
  command.path = "keygen";
  command.help = "Make an Ed25519 key that signs for a tenant, and print its public half";
  command.examples = "Examples:\n"
                     "  sbx keygen acme.key                               the printed line goes into multi_tenant.public_keys\n"
                     "  SBX_IDENTITY=acme SBX_KEY_FILE=acme.key sbx ls\n";
  command.options = {{.names = "FILE",
                      .into = path.get(),
                      .help = "Where the private half goes (mode 600); must not exist",
                      .required = true,
                      .completes = Completes::files}};
  command.run = [path](const Common& common) {
    const auto key = make_signing_key(*path);
    if (!key) return fail(common, key.error());
    if (common.json) print_json(Json::object().add("file", *path).add("public_key", *key));
    else print(*key + "\n");
    return 0;
  };
  return command;
}

}  // namespace sbx::commands

#include "completion.hpp"

#include <cstdio>
#include <memory>

#include "commands/commands.hpp"
#include "connect.hpp"
#include "output.hpp"

namespace sbx::commands {

namespace {

/// Ids the daemon knows. A daemon that does not answer at once has nothing to offer: a tab must not hang.
std::vector<Candidate> look_up(const Common& common, Completes kind) {
  std::vector<Candidate> found;
  auto daemon = find_daemon(common, std::chrono::milliseconds(800));
  if (!daemon || !*daemon) {
    if (!daemon) daemon.error().ignore("completion has no place for errors");
    return found;
  }
  auto& client = (*daemon)->client;
  const auto add = [&](const auto& list, const auto& make) {
    if (!list) return list.error().ignore("completion has no place for errors");
    for (const auto& one : *list) found.push_back(make(one));
  };
  switch (kind) {
    case Completes::sandboxes:
      add(client.list(), [](const sandbox::SandboxInfo& info) { return Candidate{info.id, info.image}; });
      break;
    case Completes::templates:
      add(client.templates(), [](const sandbox::ServiceTemplate& info) { return Candidate{info.id, info.label}; });
      break;
    case Completes::profiles:
      add(client.profiles(), [](const sandbox::ProfileInfo& info) { return Candidate{info.name, info.image}; });
      break;
    case Completes::nothing:
    case Completes::files:
    case Completes::directories:
    case Completes::words: break;
  }
  return found;
}

}  // namespace

Command completion() {
  const auto shell = std::make_shared<std::string>();
  Command command;
  command.path = "completion";
  command.help = "Print the completion script of a shell";
  command.examples = "Examples:\n"
                     "  source <(sbx completion bash)                      # or into /etc/bash_completion.d/sbx\n"
                     "  sbx completion zsh > \"${fpath[1]}/_sbx\"\n"
                     "  sbx completion fish > ~/.config/fish/completions/sbx.fish\n";
  command.options = {{.names = "SHELL", .into = shell.get(), .help = "bash, zsh or fish", .required = true, .completes = Completes::words,
                      .words = {"bash", "zsh", "fish"}}};
  command.run = [shell](const Common&) { return print(completion_script(*shell)) ? 0 : kFailure; };
  return command;
}

Command complete_words(const CommandTable& table, const std::vector<Option>& common_options) {
  const auto words = std::make_shared<std::vector<std::string>>();
  Command command;
  command.path = "__complete";
  command.help = "What may stand at the cursor; for completion scripts";
  command.hidden = true;
  command.rest = words.get();
  command.run = [words, &table, &common_options](const Common& ours) {
    // The daemon that the line being typed names, not the one of this call.
    Common common = ours;
    for (std::size_t i = 0; i + 1 < words->size(); ++i) {
      if ((*words)[i] == "--endpoint" || (*words)[i] == "-endpoint") common.endpoint = (*words)[i + 1];
    }
    const auto found = complete(table, common_options, *words, [&](Completes kind) { return look_up(common, kind); });
    std::string text;
    for (const auto& candidate : found.candidates) text += printable(candidate.word) + "\t" + printable(candidate.help) + "\n";
    if (found.also == Completes::files) text += ":files\n";
    if (found.also == Completes::directories) text += ":directories\n";
    return print(text) ? 0 : kFailure;
  };
  return command;
}

}  // namespace sbx::commands

#include <cstdio>
#include <exception>
#include <string>
#include <unistd.h>
#include <vector>

#include "arguments.hpp"
#include "commands/commands.hpp"
#include "help.hpp"
#include "output.hpp"

namespace {

sbx::CommandTable make_table() {
  using namespace sbx::commands;
  sbx::CommandTable table;
  table.groups = {{"fs", "Files of a sandbox"}, {"tpl", "Saved templates"}, {"pool", "Warm pools of the daemon"}};
  table.commands = {create(),     ls(),        rm(),          stats(),    exec(),    attach(), run(),       fs_read(),     fs_write(),
                    fs_ls(),      fs_upload(), fs_download(), tpl_save(), tpl_ls(),  tpl_rm(),    tpl_prune(), build(),     pool_status(), pool_resize(),
                    pool_flush(), events(),    health(),      host(),     prove(),   version(), keygen(), completion()};
  return table;
}

int main_checked(int argc, char** argv) {
  sbx::Common values;
  const auto common = sbx::common_options(values);
  auto table = make_table();
  // Reads the table when it runs: complete by then, and where it is now.
  table.commands.push_back(sbx::commands::complete_words(table, common));

  sbx::Request request;
  const auto parsed = sbx::parse_arguments(table, common, std::vector<std::string>(argv + 1, argv + argc), request);
  if (!parsed) {
    std::fprintf(stderr, "sbx: %s; see sbx --help\n", parsed.error().message().c_str());
    return request.usage_code;
  }
  if (request.command == nullptr) {
    const auto text = sbx::help_text(table, common, request.help, sbx::columns_of(STDOUT_FILENO));
    if (request.nothing_said) {
      std::fputs(text.c_str(), stderr);
      return sbx::kFailure;
    }
    return sbx::print(text) ? 0 : sbx::kFailure;
  }
  values.command = request.command->path;
  return request.command->run(values);
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return main_checked(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "sbx: %s\n", error.what());
    return sbx::kFailure;
  }
}

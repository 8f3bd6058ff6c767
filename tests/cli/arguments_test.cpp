#include "arguments.hpp"

#include <gtest/gtest.h>

#include "completion.hpp"
#include "help.hpp"
#include "output.hpp"

namespace {

using Words = std::vector<std::string>;

/// A table with every kind of thing a command can have.
struct Shell {
  sbx::Common common;
  std::vector<sbx::Option> common_options = sbx::common_options(common);
  sbx::CommandTable table;
  std::string profile, id, path;
  double cpu = 0;
  std::uint64_t count = 0;
  bool interactive = false, terminal = false, separated = false;
  std::vector<std::string> labels, ids, rest;
  sbx::Request request;
  std::string error;

  Shell() {
    table.groups = {{"fs", "Files"}};
    sbx::Command create, exec, read, remove;
    create.path = "create";
    create.help = "Make one";
    create.options = {{.names = "--profile",
                       .into = &profile,
                       .help = "Which",
                       .value = "NAME",
                       .completes = sbx::Completes::words,
                       .words = {"a", "big"}},
                      {.names = "--cpu", .into = &cpu, .help = "Cores"},
                      {.names = "--label,-l", .into = &labels, .help = "Label", .value = "KEY=VALUE"}};
    exec.path = "exec";
    exec.help = "Run";
    exec.options = {{.names = "--interactive,-i", .into = &interactive, .help = "Input"},
                    {.names = "--tty,-t", .into = &terminal, .help = "Terminal"},
                    {.names = "ID", .into = &id, .help = "Which", .required = true, .completes = sbx::Completes::sandboxes}};
    exec.rest = &rest;
    exec.separated = &separated;
    read.path = "fs read";
    read.help = "Read";
    read.options = {{.names = "ID", .into = &id, .help = "Which", .required = true, .completes = sbx::Completes::sandboxes},
                    {.names = "PATH", .into = &path, .help = "What", .required = true, .completes = sbx::Completes::files},
                    {.names = "--count", .into = &count, .help = "How much"}};
    remove.path = "rm";
    remove.help = "Remove";
    remove.options = {{.names = "ID", .into = &ids, .help = "Which", .required = true, .completes = sbx::Completes::sandboxes}};
    table.commands = {create, exec, read, remove};
  }

  /// The path of the command, "help:…" or "error".
  std::string parse(const Words& words) {
    const auto done = sbx::parse_arguments(table, common_options, words, request);
    if (!done) {
      error = done.error().message();
      return "error";
    }
    return request.command == nullptr ? "help:" + request.help : request.command->path;
  }
};

TEST(Arguments, OptionsStandAnywhereAmongPositionals) {
  for (const auto& words : {Words{"fs", "read", "--count", "7", "sbx-1", "/a"}, Words{"fs", "read", "sbx-1", "--count=7", "/a"},
                            Words{"fs", "read", "sbx-1", "/a", "-count", "7"}, Words{"fs", "read", "sbx-1", "/a", "-count=7"}}) {
    Shell shell;
    ASSERT_EQ(shell.parse(words), "fs read") << shell.error;
    EXPECT_EQ(shell.id, "sbx-1");
    EXPECT_EQ(shell.path, "/a");
    EXPECT_EQ(shell.count, 7u);
  }
}

TEST(Arguments, OneDashIsAsGoodAsTwo) {
  Shell shell;
  ASSERT_EQ(shell.parse({"create", "-profile", "big", "-cpu=0.5", "-l", "a=b", "-label", "c=d", "--label=e=f", "-lg=h"}), "create")
      << shell.error;
  EXPECT_EQ(shell.profile, "big");
  EXPECT_EQ(shell.cpu, 0.5);
  EXPECT_EQ(shell.labels, (Words{"a=b", "c=d", "e=f", "g=h"}));
}

TEST(Arguments, FlagsCluster) {
  Shell shell;
  ASSERT_EQ(shell.parse({"exec", "-it", "sbx-1", "sh"}), "exec");
  EXPECT_TRUE(shell.interactive && shell.terminal);
}

TEST(Arguments, AnEmptyValueIsAValue) {
  Shell shell;
  ASSERT_EQ(shell.parse({"create", "--label", "", "--label="}), "create") << shell.error;
  EXPECT_EQ(shell.labels, (Words{"", ""}));
}

TEST(Arguments, AProgramsOptionsAreItsOwn) {
  Shell shell;
  ASSERT_EQ(shell.parse({"exec", "sbx-1", "-t", "ls", "-l", "--count", "--", "-i"}), "exec");
  EXPECT_TRUE(shell.terminal);
  EXPECT_FALSE(shell.interactive || shell.separated);
  EXPECT_EQ(shell.rest, (Words{"ls", "-l", "--count", "--", "-i"}));
}

TEST(Arguments, ASeparatorIsRemembered) {
  Shell shell;
  ASSERT_EQ(shell.parse({"exec", "sbx-1", "--", "-weird", "--", "x"}), "exec");
  EXPECT_TRUE(shell.separated);
  EXPECT_EQ(shell.rest, (Words{"-weird", "--", "x"}));
  Shell other;
  EXPECT_EQ(other.parse({"exec", "--", "sbx-1"}), "error");
  EXPECT_EQ(other.error, "ID is missing");
}

TEST(Arguments, CommonOptionsMayComeFirst) {
  Shell shell;
  ASSERT_EQ(shell.parse({"--endpoint", "unix:///x", "-json", "fs", "--quiet", "read", "sbx-1", "/a"}), "fs read") << shell.error;
  EXPECT_EQ(shell.common.endpoint, "unix:///x");
  EXPECT_TRUE(shell.common.json && shell.common.quiet);
}

TEST(Arguments, AfterTheSeparatorDashesArePositional) {
  Shell shell;
  ASSERT_EQ(shell.parse({"fs", "read", "sbx-1", "--", "--count"}), "fs read");
  EXPECT_EQ(shell.path, "--count");
}

TEST(Arguments, WhatIsWrongIsNamed) {
  const std::pair<Words, const char*> cases[] = {
      {{"creat"}, "did you mean 'create'?"},
      {{"fs", "raed"}, "did you mean 'fs read'?"},
      {{"create", "--proflie", "x"}, "did you mean --profile?"},
      {{"create", "--cpu"}, "needs a value"},
      {{"create", "--cpu", "-1"}, "not a number above zero"},
      {{"create", "--cpu", "nan"}, "not a number above zero"},
      {{"create", "--profile", "huge"}, "none of a, big"},
      {{"create", "extra"}, "one argument too many"},
      {{"fs", "read", "sbx-1"}, "PATH is missing"},
      {{"fs", "read", "a", "b", "--count", "12x"}, "not a whole number"},
      {{"fs", "read", "a", "b", "--count", "99999999999999999999"}, "not a whole number"},
      {{"rm"}, "ID is missing"},
      {{"exec", "-x", "sbx-1", "ls"}, "unknown option -x"},
      {{"exec", "--tty=yes", "sbx-1", "ls"}, "takes no value"},
  };
  for (const auto& [words, expected] : cases) {
    Shell shell;
    EXPECT_EQ(shell.parse(words), "error") << testing::PrintToString(words);
    EXPECT_NE(shell.error.find(expected), std::string::npos) << shell.error;
  }
}

TEST(Arguments, HelpIsAskedForInManyWays) {
  EXPECT_EQ(Shell().parse({}), "help:");
  EXPECT_EQ(Shell().parse({"--help"}), "help:");
  EXPECT_EQ(Shell().parse({"-h"}), "help:");
  EXPECT_EQ(Shell().parse({"help"}), "help:");
  EXPECT_EQ(Shell().parse({"help", "fs", "read"}), "help:fs read");
  EXPECT_EQ(Shell().parse({"fs"}), "help:fs");
  EXPECT_EQ(Shell().parse({"fs", "read", "sbx-1", "--help"}), "help:fs read");
  EXPECT_EQ(Shell().parse({"exec", "-h"}), "help:exec");
  EXPECT_EQ(Shell().parse({"help", "nonsense"}), "error");
  Shell shell;
  EXPECT_EQ(shell.parse({"exec", "sbx-1", "ls", "--help"}), "exec");  // the program's
}

TEST(Help, NamesEveryOptionAndStaysWithinTheWidth) {
  Shell shell;
  const auto text = sbx::help_text(shell.table, shell.common_options, "create", 72);
  for (const char* words : {"sbx create [options]", "--profile NAME", "-l, --label KEY=VALUE", "(repeatable)", "--endpoint URL"}) {
    EXPECT_NE(text.find(words), std::string::npos) << words << "\n" << text;
  }
  std::size_t begin = 0;
  for (auto end = text.find('\n'); end != std::string::npos; begin = end + 1, end = text.find('\n', begin))
    EXPECT_LE(end - begin, 72u) << text;
  EXPECT_NE(sbx::help_text(shell.table, shell.common_options, "exec", 80).find("sbx exec [options] ID CMD…"), std::string::npos);
}

std::vector<std::string> offered(Shell& shell, const Words& words, sbx::Completes* also = nullptr) {
  const auto found = sbx::complete(shell.table, shell.common_options, words, [](sbx::Completes kind) {
    return kind == sbx::Completes::sandboxes ? std::vector<sbx::Candidate>{{"sbx-1", "host"}, {"sbx-22", ""}}
                                             : std::vector<sbx::Candidate>{};
  });
  if (also != nullptr) *also = found.also;
  std::vector<std::string> result;
  for (const auto& candidate : found.candidates) result.push_back(candidate.word);
  return result;
}

TEST(Completion, OffersWhatMayComeNext) {
  Shell shell;
  EXPECT_EQ(offered(shell, {""}), (Words{"create", "exec", "rm", "fs"}));
  EXPECT_EQ(offered(shell, {"cr"}), (Words{"create"}));
  EXPECT_EQ(offered(shell, {"fs", ""}), (Words{"read"}));
  EXPECT_EQ(offered(shell, {"create", "--pro"}), (Words{"--profile"}));
  EXPECT_EQ(offered(shell, {"create", "--profile", ""}), (Words{"a", "big"}));
  EXPECT_EQ(offered(shell, {"create", "--profile=b"}), (Words{"--profile=big"}));
  EXPECT_EQ(offered(shell, {"exec", "sbx-2"}), (Words{"sbx-22"}));
  EXPECT_EQ(offered(shell, {"--endpoint", "unix:///x", "exec", ""}), (Words{"sbx-1", "sbx-22"}));
  EXPECT_EQ(offered(shell, {"rm", "sbx-1", ""}), (Words{"sbx-1", "sbx-22"}));
  EXPECT_TRUE(offered(shell, {"exec", "sbx-1", "--", ""}).empty());
  EXPECT_TRUE(offered(shell, {"nonsense", ""}).empty());
  sbx::Completes also{};
  EXPECT_TRUE(offered(shell, {"fs", "read", "sbx-1", ""}, &also).empty());
  EXPECT_EQ(also, sbx::Completes::files);
}

TEST(Table, AlignsAndShowsControlBytes) {
  using Align = sbx::Table::Align;
  sbx::Table table({{"ID"}, {"SIZE", Align::right}, {"NAME"}});
  table.add({"a", "12", "ünï"});
  table.add({"long-id", "7", "x\033[31m\n"});
  EXPECT_EQ(table.str(false), "ID       SIZE  NAME\na          12  ünï\nlong-id     7  x\\x1b[31m\\x0a\n");
  EXPECT_TRUE(table.str(true).starts_with("\033[1mID"));
}

TEST(Text, ColumnsOfSizesAndAges) {
  EXPECT_EQ(sbx::column_size(0), "0 B");
  EXPECT_EQ(sbx::column_size(1023), "1023 B");
  EXPECT_EQ(sbx::column_size(1024), "1.0 KiB");
  EXPECT_EQ(sbx::column_size((1 << 20) - 1), "1.0 MiB");
  EXPECT_EQ(sbx::column_size(512ull << 20), "512.0 MiB");
  EXPECT_EQ(sbx::column_size(5000ull << 30), "5000.0 GiB");
  EXPECT_EQ(sbx::human_age(std::chrono::seconds(0)), "0s");
  EXPECT_EQ(sbx::human_age(std::chrono::seconds(312)), "5m12s");
  EXPECT_EQ(sbx::human_age(std::chrono::hours(1)), "1h");
  EXPECT_EQ(sbx::human_age(std::chrono::hours(50)), "2d2h");
}

TEST(Text, PrettyJson) {
  EXPECT_EQ(sbx::pretty_json(R"({"a":[1,2],"b":{},"c":"x{,\"y","d":[]})"),
            "{\n  \"a\": [\n    1,\n    2\n  ],\n  \"b\": {},\n  \"c\": \"x{,\\\"y\",\n  \"d\": []\n}");
}

}  // namespace

#include "unit/agent_fs/harness.hpp"

namespace sandbox::agent::testing {
namespace {

TEST_F(AgentFs, CopyTakesContentAndMode) {
  const std::string content(3'000'000, 'c');
  spit(dir / "from", content);
  ::chmod((dir / "from").c_str(), 0755);
  auto call = agent.copy(dir / "from", dir / "to");
  ASSERT_TRUE(call->ok()) << call->end->message;
  EXPECT_EQ(call->result<protocol::FsWriteResult>().size, content.size());
  EXPECT_TRUE(slurp(dir / "to") == content);
  EXPECT_EQ(mode_of(dir / "to"), 0755u);
  spit(dir / "empty", "");
  ASSERT_TRUE(agent.copy(dir / "empty", dir / "to")->ok());
  EXPECT_EQ(slurp(dir / "to"), "");
  EXPECT_EQ(agent.copy(dir / "from", dir / "from")->code(), ErrorCode::invalid_argument);
  EXPECT_TRUE(slurp(dir / "from") == content);
  EXPECT_EQ(agent.copy(dir / "none", dir / "to")->code(), ErrorCode::not_found);
  EXPECT_EQ(agent.copy(dir / "from", dir / "no/to")->code(), ErrorCode::not_found);
}

TEST_F(AgentFs, CopyKeepsHolesOfHugeFiles) {
  constexpr off_t kSize = 8ll << 30;
  spit(dir / "from", "begin");
  ASSERT_EQ(::truncate((dir / "from").c_str(), kSize), 0);
  const core::UniqueFd fd(::open((dir / "from").c_str(), O_WRONLY));
  ASSERT_EQ(::pwrite(fd.get(), "middle", 6, kSize / 2), 6);
  auto call = agent.copy(dir / "from", dir / "to");
  ASSERT_TRUE(call->ok()) << call->end->message;
  struct stat info{};
  ASSERT_EQ(::stat((dir / "to").c_str(), &info), 0);
  EXPECT_EQ(info.st_size, kSize);
  EXPECT_LT(info.st_blocks, 4096);
  char text[6];
  const core::UniqueFd to(::open((dir / "to").c_str(), O_RDONLY));
  ASSERT_EQ(::pread(to.get(), text, 6, kSize / 2), 6);
  EXPECT_EQ(std::string_view(text, 6), "middle");
}

TEST_F(AgentFs, CopyTakesTrees) {
  TemporaryDirectory outside;
  spit(outside / "secret", "s");
  fs::create_directories(dir / "from/a/b");
  for (int i = 0; i < 500; ++i) spit(dir / ("from/a/b/" + std::to_string(i)), std::to_string(i));
  spit(dir / "from/nl\n\xff", "odd");
  fs::create_symlink(outside.path(), dir / "from/out");
  ASSERT_EQ(::mkfifo((dir / "from/fifo").c_str(), 0600), 0);
  ::chmod((dir / "from/a").c_str(), 0555);
  EXPECT_EQ(agent.copy(dir / "from", dir / "to", false)->code(), ErrorCode::invalid_argument);
  auto call = agent.copy(dir / "from", dir / "to", true);
  ASSERT_TRUE(call->ok()) << call->end->message;
  EXPECT_EQ(names(dir / "to"), (std::vector<std::string>{"a", "nl\n\xff", "out"}));
  EXPECT_EQ(names(dir / "to/a/b").size(), 500u);
  EXPECT_EQ(slurp(dir / "to/a/b/77"), "77");
  EXPECT_TRUE(fs::is_symlink(dir / "to/out"));
  EXPECT_EQ(mode_of(dir / "to/a"), 0555u);
  // Again, over what is there; and a symlink in the way of a directory is not written through.
  spit(dir / "to/a/b/77", "changed");
  ASSERT_TRUE(agent.copy(dir / "from", dir / "to", true)->ok());
  EXPECT_EQ(slurp(dir / "to/a/b/77"), "77");
  fs::create_directory(dir / "to2");
  fs::create_symlink(outside.path(), dir / "to2/a");
  EXPECT_FALSE(agent.copy(dir / "from", dir / "to2", true)->ok());
  EXPECT_EQ(names(outside.path()), std::vector<std::string>{"secret"});
}

TEST_F(AgentFs, CopyIntoItselfIsRefused) {
  fs::create_directories(dir / "t/sub");
  EXPECT_EQ(agent.copy(dir / "t", dir / "t/sub/copy", true)->code(), ErrorCode::invalid_argument);
  EXPECT_EQ(agent.copy(dir / "t", dir / "t", true)->code(), ErrorCode::invalid_argument);
}

TEST_F(AgentFs, CopyTakesDeepTreesWithFewDescriptors) {
  std::string path = dir / "from";
  ASSERT_EQ(::mkdir(path.c_str(), 0700), 0);
  for (int i = 0; i < 300; ++i) {
    path += "/d";
    ASSERT_EQ(::mkdir(path.c_str(), 0700), 0);
    spit(path + "/f1", "x");
    spit(path + "/f2", "x");
  }
  auto call = agent.copy(dir / "from", dir / "to", true);
  ASSERT_TRUE(call->ok()) << call->end->message;
  path.replace(path.find("/from/"), 6, "/to/");
  EXPECT_EQ(names(path), (std::vector<std::string>{"f1", "f2"}));
}

TEST_F(AgentFs, ACancelledCopyLeavesNoPart) {
  spit(dir / "from", std::string(64 << 20, 'x'));
  protocol::FsPairRequest request;
  request.from = dir / "from";
  request.to = dir / "to";
  auto call = agent.open(Method::fs_copy, request);
  agent.turn();
  agent.client().cancel(call->stream);
  agent.wait(*call);
  EXPECT_EQ(call->code(), ErrorCode::cancelled);
  EXPECT_EQ(names(dir.path()), std::vector<std::string>{"from"});
}

}  // namespace
}  // namespace sandbox::agent::testing

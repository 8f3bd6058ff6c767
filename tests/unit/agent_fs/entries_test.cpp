#include "unit/agent_fs/harness.hpp"

#include <sys/resource.h>

#include <set>

namespace sandbox::agent::testing {
namespace {

using protocol::FileType;
using protocol::FsEntry;
using protocol::FsMkdirRequest;
using protocol::FsPairRequest;
using protocol::FsPathRequest;

TEST_F(AgentFs, StatTellsWhatIsThere) {
  spit(dir / "f", "12345");
  ::chmod((dir / "f").c_str(), 0640);
  fs::create_symlink("f", dir / "link");
  auto file = agent.run(Method::fs_stat, FsPathRequest{dir / "f", true})->result<FsEntry>();
  EXPECT_EQ(file.path, dir / "f");
  EXPECT_EQ(file.type, FileType::regular);
  EXPECT_EQ(file.size, 5u);
  EXPECT_EQ(file.mode, 0640u);
  EXPECT_EQ(file.links, 1u);
  EXPECT_EQ(file.uid, ::getuid());
  EXPECT_GT(file.modified_ns, 1'500'000'000'000'000'000);
  EXPECT_EQ(agent.run(Method::fs_stat, FsPathRequest{dir / "link", true})->result<FsEntry>().type, FileType::regular);
  auto link = agent.run(Method::fs_stat, FsPathRequest{dir / "link", false})->result<FsEntry>();
  EXPECT_EQ(link.type, FileType::symlink);
  EXPECT_EQ(link.target, "f");
  EXPECT_EQ(agent.run(Method::fs_stat, FsPathRequest{dir / "none", true})->code(), ErrorCode::not_found);
  EXPECT_EQ(agent.run(Method::fs_stat, FsPathRequest{dir / "f/below", true})->code(), ErrorCode::not_found);
  ASSERT_EQ(::mkfifo((dir / "fifo").c_str(), 0600), 0);
  EXPECT_EQ(agent.run(Method::fs_stat, FsPathRequest{dir / "fifo", true})->result<FsEntry>().type, FileType::fifo);
}

TEST_F(AgentFs, MkdirMakesParentsWhenAsked) {
  EXPECT_EQ(agent.run(Method::fs_mkdir, FsMkdirRequest{dir / "a/b/c", false, 0})->code(), ErrorCode::not_found);
  ASSERT_TRUE(agent.run(Method::fs_mkdir, FsMkdirRequest{dir / "a//b/c/", true, 0711})->ok());
  EXPECT_EQ(mode_of(dir / "a/b/c"), 0711u);
  EXPECT_TRUE(agent.run(Method::fs_mkdir, FsMkdirRequest{dir / "a/b/c", true, 0})->ok());
  EXPECT_EQ(mode_of(dir / "a/b/c"), 0711u);
  EXPECT_EQ(agent.run(Method::fs_mkdir, FsMkdirRequest{dir / "a", false, 0})->code(), ErrorCode::already_exists);
  ASSERT_TRUE(agent.run(Method::fs_mkdir, FsMkdirRequest{dir / "n", false, 0777})->ok());
  EXPECT_EQ(mode_of(dir / "n"), 0777u) << "the umask is not the caller's";
  spit(dir / "f", "");
  EXPECT_FALSE(agent.run(Method::fs_mkdir, FsMkdirRequest{dir / "f", true, 0})->ok());
  EXPECT_FALSE(agent.run(Method::fs_mkdir, FsMkdirRequest{dir / "f/x", true, 0})->ok());
  EXPECT_TRUE(agent.run(Method::fs_mkdir, FsMkdirRequest{"/", true, 0})->ok());
}

TEST_F(AgentFs, RenameReplacesUnlessToldNotTo) {
  spit(dir / "a", "a");
  spit(dir / "b", "b");
  FsPairRequest request;
  request.from = dir / "a";
  request.to = dir / "b";
  request.replace = false;
  EXPECT_EQ(agent.run(Method::fs_rename, request)->code(), ErrorCode::already_exists);
  EXPECT_EQ(slurp(dir / "b"), "b");
  request.replace = true;
  EXPECT_TRUE(agent.run(Method::fs_rename, request)->ok());
  EXPECT_EQ(slurp(dir / "b"), "a");
  EXPECT_EQ(agent.run(Method::fs_rename, request)->code(), ErrorCode::not_found);
  request.from = "relative";
  EXPECT_EQ(agent.run(Method::fs_rename, request)->code(), ErrorCode::invalid_argument);
  fs::create_directory(dir / "d");
  request.from = dir / "d";
  request.to = dir / "d/inside";
  EXPECT_FALSE(agent.run(Method::fs_rename, request)->ok());
}

TEST_F(AgentFs, SymlinkAndChmod) {
  FsPairRequest request;
  request.from = "../any \xff text\n";
  request.to = dir / "link";
  ASSERT_TRUE(agent.run(Method::fs_symlink, request)->ok());
  EXPECT_EQ(fs::read_symlink(dir / "link").string(), request.from);
  EXPECT_EQ(agent.run(Method::fs_symlink, request)->code(), ErrorCode::already_exists);
  request.from = "";
  EXPECT_EQ(agent.run(Method::fs_symlink, request)->code(), ErrorCode::invalid_argument);
  spit(dir / "f", "");
  ASSERT_TRUE(agent.run(Method::fs_chmod, protocol::FsChmodRequest{dir / "f", 0600})->ok());
  EXPECT_EQ(mode_of(dir / "f"), 0600u);
  EXPECT_EQ(agent.run(Method::fs_chmod, protocol::FsChmodRequest{dir / "f", 010000})->code(), ErrorCode::invalid_argument);
  EXPECT_EQ(agent.run(Method::fs_chmod, protocol::FsChmodRequest{dir / "none", 0600})->code(), ErrorCode::not_found);
}

TEST_F(AgentFs, ListGivesEveryEntryOnce) {
  std::set<std::string> expected;
  for (int i = 0; i < 3000; ++i) {
    const std::string name = "file-" + std::to_string(i);
    spit(dir / name, "");
    expected.insert(name);
  }
  fs::create_directory(dir / "sub");
  fs::create_symlink("to/where", dir / "link");
  spit(dir / "a\nb\xff", "");
  expected.insert({"sub", "link", "a\nb\xff"});
  auto call = agent.run(Method::fs_list, FsPathRequest{dir.path(), true});
  ASSERT_TRUE(call->ok());
  std::set<std::string> got;
  for (const auto& entry : call->entries()) {
    EXPECT_TRUE(got.insert(entry.path).second) << entry.path;
    if (entry.path == "link") {
      EXPECT_EQ(entry.type, FileType::symlink);
      EXPECT_EQ(entry.target, "to/where");
    }
    if (entry.path == "sub") {
      EXPECT_EQ(entry.type, FileType::directory);
    }
  }
  EXPECT_EQ(got, expected);
  EXPECT_EQ(agent.run(Method::fs_list, FsPathRequest{dir / "file-1", true})->code(), ErrorCode::not_found);
  fs::create_directory(dir / "empty");
  auto empty = agent.run(Method::fs_list, FsPathRequest{dir / "empty", true});
  EXPECT_TRUE(empty->ok());
  EXPECT_TRUE(empty->messages.empty());
}

TEST_F(AgentFs, AListingNobodyReadsIsNotPiledUp) {
  const std::string padding(200, 'x');
  for (int i = 0; i < 20'000; ++i) {
    const core::UniqueFd made(::open((dir / (std::to_string(i) + padding)).c_str(), O_CREAT | O_WRONLY, 0600));
    ASSERT_TRUE(made);
  }
  auto call = agent.open(Method::fs_list, FsPathRequest{dir.path(), true});
  rusage before{}, after{};
  ::getrusage(RUSAGE_SELF, &before);
  for (int i = 0; i < 300; ++i) agent.turn(false);
  ::getrusage(RUSAGE_SELF, &after);
#if !defined(SANDBOX_CHECK_ERRORS)  // a sanitizer's own memory would be measured
  EXPECT_LT(after.ru_maxrss - before.ru_maxrss, 3 << 10) << "KiB; everything would be about 5 MiB";
#endif
  EXPECT_FALSE(call->end);
  agent.wait(*call);
  EXPECT_TRUE(call->ok());
  EXPECT_EQ(call->entries().size(), 20'000u);
}

}  // namespace
}  // namespace sandbox::agent::testing

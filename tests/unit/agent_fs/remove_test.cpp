#include "unit/agent_fs/harness.hpp"

#include <atomic>
#include <thread>

namespace sandbox::agent::testing {
namespace {

TEST_F(AgentFs, RemoveTakesFilesSymlinksAndEmptyDirectories) {
  spit(dir / "f", "x");
  fs::create_directory(dir / "empty");
  fs::create_directory(dir / "full");
  spit(dir / "full/f", "keep");
  fs::create_symlink("full", dir / "link");
  EXPECT_TRUE(agent.remove(dir / "f", false)->ok());
  EXPECT_TRUE(agent.remove(dir / "empty", false)->ok());
  EXPECT_TRUE(agent.remove(dir / "link", true)->ok());
  auto full = agent.remove(dir / "full", false);
  EXPECT_EQ(full->code(), ErrorCode::failed_precondition);
  EXPECT_EQ(full->end->sys_errno, ENOTEMPTY);
  EXPECT_EQ(slurp(dir / "full/f"), "keep");
  EXPECT_EQ(agent.remove(dir / "f", false)->code(), ErrorCode::not_found);
  EXPECT_TRUE(agent.remove(dir / "f", false, true)->ok());
  EXPECT_TRUE(agent.remove(dir / "no/such/thing", true, true)->ok());
  EXPECT_EQ(names(dir.path()), std::vector<std::string>{"full"});
}

TEST_F(AgentFs, RemoveRefusesTheRootAndDots) {
  for (const std::string& path : {std::string("/"), std::string("///"), std::string("/."), dir / ".", dir / ".."})
    EXPECT_FALSE(agent.remove(path, true)->ok()) << path;
  EXPECT_TRUE(fs::exists(dir.path()));
}

TEST_F(AgentFs, RemoveAllTakesTreesWithEveryKindOfEntry) {
  TemporaryDirectory outside;
  spit(outside / "keep", "kept");
  fs::create_directories(dir / "t/a/b/c");
  for (int i = 0; i < 1000; ++i) spit(dir / ("t/a/f" + std::to_string(i)), "x");
  for (int i = 0; i < 200; ++i) fs::create_directory(dir / ("t/d" + std::to_string(i)));
  fs::create_symlink(outside.path(), dir / "t/out");
  fs::create_symlink(outside / "keep", dir / "t/a/keep");
  ASSERT_EQ(::mkfifo((dir / "t/fifo").c_str(), 0600), 0);
  spit(dir / "t/new\nline \xff", "x");
  auto call = agent.remove(dir / "t", true);
  ASSERT_TRUE(call->ok()) << call->end->message;
  EXPECT_TRUE(fs::is_empty(dir.path()));
  EXPECT_EQ(slurp(outside / "keep"), "kept");
}

TEST_F(AgentFs, RemoveAllTakesDirectoriesWithoutPermissions) {
  fs::create_directories(dir / "t/locked/deep");
  spit(dir / "t/locked/deep/f", "x");
  ::chmod((dir / "t/locked/deep").c_str(), 0);
  ::chmod((dir / "t/locked").c_str(), 0500);
  EXPECT_TRUE(agent.remove(dir / "t", true)->ok());
  EXPECT_TRUE(fs::is_empty(dir.path()));
}

TEST_F(AgentFs, RemoveAllIsNotBoundedByDepth) {
  // Made from the inside out of descriptors: the path is far longer than PATH_MAX.
  constexpr int kDepth = 10'000;
  ASSERT_EQ(::mkdir((dir / "t").c_str(), 0700), 0);
  core::UniqueFd at(::open((dir / "t").c_str(), O_RDONLY | O_DIRECTORY));
  for (int i = 0; i < kDepth; ++i) {
    ASSERT_EQ(::mkdirat(at.get(), "d", 0700), 0);
    if (i % 100 == 0) core::UniqueFd(::openat(at.get(), "f", O_CREAT | O_WRONLY, 0600));
    at.reset(::openat(at.get(), "d", O_RDONLY | O_DIRECTORY));
    ASSERT_TRUE(at);
  }
  at.reset();
  auto call = agent.remove(dir / "t", true);
  ASSERT_TRUE(call->ok()) << call->end->message;
  EXPECT_TRUE(fs::is_empty(dir.path()));
}

TEST_F(AgentFs, RemoveAllStopsWhenCancelled) {
  for (int i = 0; i < 3000; ++i) {
    fs::create_directories(dir / ("t/" + std::to_string(i)));
    spit(dir / ("t/" + std::to_string(i) + "/f"), "x");
  }
  auto call = agent.open(Method::fs_remove, protocol::FsRemoveRequest{dir / "t", true, false});
  agent.turn();
  agent.client().cancel(call->stream);
  agent.wait(*call);
  EXPECT_EQ(call->code(), ErrorCode::cancelled);
  EXPECT_FALSE(fs::is_empty(dir / "t"));
}

/// Swaps `path` between a directory and a symlink to `outside` until told to stop.
class Swapper {
 public:
  Swapper(std::string path, std::string outside)
      : thread_([this, path = std::move(path), outside = std::move(outside)] {
          const std::string link = path + ".link", kept = path + ".kept";
          (void)!::symlink(outside.c_str(), link.c_str());
          while (!stop_) {
            if (::rename(path.c_str(), kept.c_str()) == 0) {
              (void)!::rename(link.c_str(), path.c_str());
              ++swaps_;
              (void)!::rename(path.c_str(), link.c_str());
              (void)!::rename(kept.c_str(), path.c_str());
            } else {
              std::this_thread::yield();
            }
          }
        }) {}
  ~Swapper() { stop(); }
  void stop() {
    stop_ = true;
    if (thread_.joinable()) thread_.join();
  }
  int swaps() const { return swaps_; }

 private:
  std::atomic<bool> stop_{false};
  std::atomic<int> swaps_{0};
  std::thread thread_;
};

TEST_F(AgentFs, RemoveAllNeverFollowsADirectoryThatBecomesASymlink) {
  TemporaryDirectory outside;
  fs::create_directory(outside / "sub");
  for (int i = 0; i < 50; ++i) spit(outside / ("f" + std::to_string(i)), "kept"), spit(outside / ("sub/f" + std::to_string(i)), "kept");
  int swaps = 0;
  for (int round = 0; round < 60; ++round) {
    fs::create_directories(dir / "t/victim/sub");
    for (int i = 0; i < 20; ++i) {
      spit(dir / ("t/victim/f" + std::to_string(i)), "x");
      spit(dir / ("t/victim/sub/f" + std::to_string(i)), "x");
    }
    Swapper swapper(dir / "t/victim", outside.path());
    while (swapper.swaps() == 0) std::this_thread::yield();  // it is at work before we begin
    auto call = agent.remove(dir / "t", true, true);
    swapper.stop();
    swaps += swapper.swaps();
    ASSERT_TRUE(call->ok() || call->code() == ErrorCode::failed_precondition || call->code() == ErrorCode::not_found) << call->end->message;
  }
  EXPECT_GT(swaps, 0);
  EXPECT_EQ(names(outside.path()).size(), 51u);
  EXPECT_EQ(names(outside / "sub").size(), 50u);
}

}  // namespace
}  // namespace sandbox::agent::testing

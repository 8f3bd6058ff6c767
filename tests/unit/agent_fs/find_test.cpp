#include "unit/agent_fs/harness.hpp"

#include <algorithm>

#include "agent/glob.hpp"
#include "agent/walk.hpp"
#include "core/unique_fd.hpp"

namespace sandbox::agent::testing {
namespace {

using protocol::FileType;
using protocol::FsFindRequest;

class AgentFind : public AgentFs {
 protected:
  std::vector<std::string> find(FsFindRequest request) {
    request.root = dir.path();
    auto call = agent.run(Method::fs_find, request);
    EXPECT_TRUE(call->ok()) << call->end->message;
    std::vector<std::string> paths;
    for (const auto& entry : call->entries()) paths.push_back(entry.path);
    std::sort(paths.begin(), paths.end());
    return paths;
  }
};

TEST_F(AgentFind, MatchesTypesDepthAndCount) {
  fs::create_directories(dir / "a/b/c");
  spit(dir / "top.py", "");
  spit(dir / "a/one.py", "");
  spit(dir / "a/b/c/two.py", "");
  spit(dir / "a/b/c/odd\n\xff.py", "");
  fs::create_symlink("/", dir / "a/root");
  using Paths = std::vector<std::string>;
  EXPECT_EQ(find({"", "*.py", {}, 0, 0}), Paths{"top.py"});
  EXPECT_EQ(find({"", "**/*.py", {}, 0, 0}), (Paths{"a/b/c/odd\n\xff.py", "a/b/c/two.py", "a/one.py", "top.py"}));
  EXPECT_EQ(find({"", "**/*.py", {}, 2, 0}), (Paths{"a/one.py", "top.py"}));
  EXPECT_EQ(find({"", "", FileType::directory, 0, 0}), (Paths{"a", "a/b", "a/b/c"}));
  EXPECT_EQ(find({"", "", FileType::symlink, 0, 0}), Paths{"a/root"});
  EXPECT_EQ(find({"", "", {}, 0, 3}).size(), 3u);
  EXPECT_EQ(find({"", "", {}, 0, 0}).size(), 8u) << "symlinks are not followed";
  EXPECT_EQ(find({"", "a/*/c", {}, 0, 0}), Paths{"a/b/c"});
  EXPECT_EQ(find({"", "none/**", {}, 0, 0}), Paths{});
}

TEST_F(AgentFind, RefusesBadRootsAndPatterns) {
  EXPECT_EQ(agent.run(Method::fs_find, FsFindRequest{dir.path(), "../*", {}, 0, 0})->code(), ErrorCode::invalid_argument);
  EXPECT_EQ(agent.run(Method::fs_find, FsFindRequest{"rel", "*", {}, 0, 0})->code(), ErrorCode::invalid_argument);
  EXPECT_EQ(agent.run(Method::fs_find, FsFindRequest{dir / "none", "*", {}, 0, 0})->code(), ErrorCode::not_found);
}

TEST_F(AgentFind, WalksDeepAndWideTrees) {
  std::string path = dir.path();
  for (int i = 0; i < 400; ++i) {
    path += "/d";
    ASSERT_EQ(::mkdir(path.c_str(), 0700), 0);
    spit(path + "/f", "");
  }
  for (int i = 0; i < 3000; ++i) spit(dir / ("w" + std::to_string(i)), "");
  EXPECT_EQ(find({"", "**/f", {}, 0, 0}).size(), 400u);
  EXPECT_EQ(find({"", "w*", {}, 0, 0}).size(), 3000u);
}

/// A chain of `levels` directories called `name` below `root`, made without long paths. Returns the lowest.
core::UniqueFd make_chain(const std::string& root, const char* name, int levels) {
  core::UniqueFd at(::open(root.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  for (int i = 0; i < levels; ++i) {
    if (::mkdirat(at.get(), name, 0700) != 0) return {};
    at.reset(::openat(at.get(), name, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  }
  return at;
}

TEST_F(AgentFind, PassesOverWhatNoRequestCouldName) {
  // "dd/dd/…": the 1365th level is the last one whose path has no more than 4095 bytes.
  const auto lowest = make_chain(dir.path(), "dd", 6000);
  ASSERT_TRUE(lowest);
  ASSERT_EQ(::symlinkat(".", lowest.get(), "loop"), 0);
  const auto found = find({"", "**/dd", {}, 0, 0});
  EXPECT_EQ(found.size(), 1365u);
  EXPECT_EQ(found.back().size(), 4094u);
  EXPECT_EQ(find({"", "**/dd/**/none/**/dd", {}, 0, 0}).size(), 0u);
}

TEST_F(AgentFind, ComparesEachNameOnceHoweverDeepItLies) {
  auto glob = Glob::compile("**/a*/**/none");
  ASSERT_TRUE(glob);
  Glob::Trail trail(*glob);
  constexpr std::size_t kDepth = 20'000;
  for (std::size_t depth = 1; depth <= kDepth; ++depth) {
    trail.look(depth, "b");
    ASSERT_TRUE(trail.may_match_below());
    ASSERT_FALSE(trail.matches());
  }
  EXPECT_LE(trail.steps(), 4 * kDepth);
  // Another branch starts from where it leaves the first.
  trail.look(7, "a1");
  trail.look(8, "none");
  EXPECT_TRUE(trail.matches());
}

TEST_F(AgentFind, WalksWideDirectoriesAtTheBottomOnce) {
  // 20 000 entries below more levels than are open at a time.
  const auto bottom = make_chain(dir.path(), "x", 60);
  ASSERT_TRUE(bottom);
  int entries = 60;
  for (int i = 0; i < 10'000; ++i, entries += 2) {
    const std::string name = "d" + std::to_string(i);
    ASSERT_EQ(::mkdirat(bottom.get(), name.c_str(), 0700), 0);
    const core::UniqueFd below(::openat(bottom.get(), name.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    ASSERT_EQ(::symlinkat("..", below.get(), "up"), 0);
  }
  TreeWalk walk(core::UniqueFd(::open(dir.path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)));
  int seen = 0;
  for (auto step = walk.next(); step != TreeWalk::Step::done; step = walk.next()) {
    ASSERT_NE(step, TreeWalk::Step::error) << walk.path();
    if (step != TreeWalk::Step::entry) continue;
    ++seen;
    if (walk.type() == FileType::directory) { ASSERT_EQ(walk.descend(), 0); }
  }
  EXPECT_EQ(seen, entries);
  EXPECT_LE(walk.reopened(), 60u) << "each level above is found again once, on the way out";
  EXPECT_EQ(find({"", "**/up", FileType::symlink, 0, 0}).size(), 10'000u);
}

TEST_F(AgentFind, CanBeCancelled) {
  for (int i = 0; i < 3000; ++i) spit(dir / ("w" + std::to_string(i)), "");
  auto call = agent.open(Method::fs_find, FsFindRequest{dir.path(), "", {}, 0, 0});
  agent.turn();
  agent.client().cancel(call->stream);
  agent.wait(*call);
  EXPECT_EQ(call->code(), ErrorCode::cancelled);
}

}  // namespace
}  // namespace sandbox::agent::testing

#include "unit/agent_fs/harness.hpp"

#include <algorithm>

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

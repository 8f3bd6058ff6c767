#include "agent/v1/paths.hpp"

#include <fcntl.h>
#include <sys/stat.h>

#include "agent/fs_support.hpp"
#include "unit/agent_v1/harness.hpp"

namespace sandbox::agent::v1::testing {
namespace {

class V1Paths : public ::testing::Test {
 protected:
  V1Paths() : paths({root / "home", root / "tmp"}, root / "home") {
    fs::create_directories(root / "home/a");
    fs::create_directory(root / "tmp");
    fs::create_directory(root / "out");
    root.write("out/secret", "secret");
    root.write("home/a/f", "file");
  }
  std::string located(std::string_view path, Paths::Last last = Paths::Last::follow) {
    auto found = paths.locate(path, last);
    if (!found) return found.error().message();
    EXPECT_TRUE(found->root);
    return found->shown.substr(root.path.size());
  }
  std::string denied(std::string_view path) { return "access denied: path \"" + std::string(path) + "\" is outside allowed directories"; }

  Root root;
  Paths paths;
};

TEST_F(V1Paths, CleansAndTakesRelativePathsFromHome) {
  EXPECT_EQ(located(root / "home/a/f"), "/home/a/f");
  EXPECT_EQ(located("a/./f"), "/home/a/f");
  EXPECT_EQ(located("a//../a/f/"), "/home/a/f");
  EXPECT_EQ(located("new/deep/file"), "/home/new/deep/file");
  EXPECT_EQ(located("../tmp/x"), "/tmp/x");
  EXPECT_EQ(located(root / "home"), "/home");
  EXPECT_EQ(located("."), "/home");
}

TEST_F(V1Paths, DeniesWhatIsElsewhere) {
  for (const std::string& path : {std::string("/etc/shadow"), std::string("/"), std::string("/proc/1/environ"), root / "home/../../../../etc/passwd",
                                 root / "out/secret", root / "homework", std::string("../out/secret"), root.path})
    EXPECT_EQ(located(path), denied(path));
  EXPECT_EQ(located(""), "path is required");
}

TEST_F(V1Paths, FollowsLinksToWhereTheyLead) {
  fs::create_symlink(root / "out", root / "home/escape");
  fs::create_symlink(root / "out/new", root / "home/dangling");
  fs::create_symlink("../tmp", root / "home/other");
  fs::create_symlink("a", root / "home/b");
  fs::create_symlink(root / "home", root / "out/in");
  EXPECT_EQ(located("escape/secret"), denied("escape/secret"));
  EXPECT_EQ(located("dangling"), denied("dangling"));
  EXPECT_EQ(located("dangling", Paths::Last::keep), "/home/dangling");
  EXPECT_EQ(located("escape/x", Paths::Last::keep), denied("escape/x"));
  EXPECT_EQ(located("other/x"), "/tmp/x");
  EXPECT_EQ(located("b/f"), "/home/a/f");
  EXPECT_EQ(located(root / "out/in/a/f"), "/home/a/f");
  fs::create_symlink("loop", root / "home/loop");
  EXPECT_NE(located("loop/x").find("ELOOP"), std::string::npos);
}

TEST_F(V1Paths, ALinkPutThereAfterwardsIsNotFollowed) {
  auto found = paths.locate("a/f").value();
  fs::remove_all(root / "home/a");
  fs::create_symlink(root / "out", root / "home/a");
  root.write("out/f", "outside");
  EXPECT_FALSE(open_beneath(found.root.get(), found.relative, O_RDONLY));
  EXPECT_FALSE(make_beneath(found.root.get(), "a/new"));
  EXPECT_FALSE(fs::exists(root / "out/new"));
}

TEST_F(V1Paths, TheListOfTheEnvironmentReplacesTheDefault) {
  Environment environment;
  environment.set("SANDBOX_FS_ALLOWED", root.path + "/tmp:relative::" + root.path + "/out").value();
  const auto other = Paths::from(environment);
  EXPECT_TRUE(other.locate(root / "out/secret"));
  EXPECT_TRUE(other.locate(root / "tmp/x"));
  auto refused = other.locate(root / "home/a/f");
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), ErrorCode::permission_denied);
}

}  // namespace
}  // namespace sandbox::agent::v1::testing

#include "os/beneath.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <unistd.h>

#include <filesystem>

namespace {

using namespace sandbox;
namespace beneath = os::beneath;

class Beneath : public ::testing::Test {
 protected:
  Beneath() {
    EXPECT_NE(::mkdtemp(path_), nullptr);
    directory_ = core::UniqueFd(::open(path_, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  }
  ~Beneath() override { std::filesystem::remove_all(path_); }
  int dir() const { return directory_.get(); }
  template <class T>
  static int errno_of(const Result<T>& result) {
    return result ? 0 : result.error().sys_errno();
  }
  char path_[32] = "/tmp/sandbox-os-XXXXXX";
  core::UniqueFd directory_;
};

TEST_F(Beneath, WritesReadsListsAndRemoves) {
  ASSERT_TRUE(beneath::make_directories(dir(), "a/b/c", 0755));
  ASSERT_TRUE(beneath::make_directories(dir(), "a/b/c", 0755));
  ASSERT_TRUE(beneath::write_new_file(dir(), "a/b/c/file", "content", 0640));
  EXPECT_EQ(beneath::read_file(dir(), "a/b/c/file", 7).value(), "content");
  EXPECT_EQ(beneath::status(dir(), "a/b/c/file").value().st_mode & 0777, 0640u);
  EXPECT_EQ(beneath::list(dir(), "a/b").value(), std::vector<std::string>{"c"});
  EXPECT_EQ(errno_of(beneath::write_new_file(dir(), "a/b/c/file", "x", 0600)), EEXIST);
  EXPECT_EQ(errno_of(beneath::make_directory(dir(), "a", 0755)), EEXIST);
  ASSERT_TRUE(beneath::remove_tree(dir(), "a"));
  ASSERT_TRUE(beneath::remove_tree(dir(), "a"));
  EXPECT_TRUE(beneath::list(dir(), ".").value().empty());
}

TEST_F(Beneath, NoPathLeaves) {
  ASSERT_EQ(::symlinkat("/etc", dir(), "absolute"), 0);
  ASSERT_EQ(::symlinkat("../..", dir(), "up"), 0);
  for (const char* path : {"..", "../x", "/etc/passwd", "absolute/passwd", "up/etc"}) {
    EXPECT_NE(errno_of(beneath::open(dir(), path, O_RDONLY, beneath::Symlinks::follow)), 0) << path;
    EXPECT_NE(errno_of(beneath::open(dir(), path, O_RDONLY, beneath::Symlinks::refuse)), 0) << path;
  }
  EXPECT_NE(errno_of(beneath::write_new_file(dir(), "up/x", "", 0600)), 0);
  EXPECT_NE(errno_of(beneath::make_directories(dir(), "absolute/x", 0700)), 0);
  EXPECT_NE(errno_of(beneath::make_directories(dir(), "../x", 0700)), 0);
}

TEST_F(Beneath, SymlinksInsideAreFollowedOnlyWhenAsked) {
  ASSERT_TRUE(beneath::write_new_file(dir(), "file", "x", 0600));
  ASSERT_EQ(::symlinkat("file", dir(), "link"), 0);
  EXPECT_EQ(errno_of(beneath::read_file(dir(), "link", 10)), ELOOP);
  EXPECT_EQ(beneath::read_file(dir(), "link", 10, beneath::Symlinks::follow).value(), "x");
  EXPECT_TRUE(S_ISLNK(beneath::status(dir(), "link").value().st_mode));
}

TEST_F(Beneath, RemovingATreeLeavesWhatItsSymlinksPointTo) {
  ASSERT_TRUE(beneath::make_directories(dir(), "kept", 0755));
  ASSERT_TRUE(beneath::write_new_file(dir(), "kept/file", "x", 0600));
  ASSERT_TRUE(beneath::make_directories(dir(), "tree", 0755));
  ASSERT_EQ(::symlinkat("../kept", dir(), "tree/link"), 0);
  ASSERT_TRUE(beneath::remove_tree(dir(), "tree"));
  EXPECT_EQ(beneath::read_file(dir(), "kept/file", 10).value(), "x");
}

TEST_F(Beneath, FifosAndLongFilesAreRefusedWhenRead) {
  ASSERT_EQ(::mkfifoat(dir(), "fifo", 0600), 0);
  EXPECT_EQ(errno_of(beneath::read_file(dir(), "fifo", 10)), EINVAL);
  ASSERT_TRUE(beneath::write_new_file(dir(), "long", "12345", 0600));
  EXPECT_EQ(errno_of(beneath::read_file(dir(), "long", 4)), EFBIG);
  EXPECT_EQ(beneath::read_file(dir(), "long", 5).value(), "12345");
}

TEST_F(Beneath, NamesAreBytes) {
  ASSERT_TRUE(beneath::write_new_file(dir(), "new\nline\xff", "x", 0600));
  EXPECT_EQ(beneath::list(dir(), "").value(), std::vector<std::string>{"new\nline\xff"});
  EXPECT_EQ(errno_of(beneath::open(dir(), std::string("a\0b", 3), O_RDONLY)), EINVAL);
  for (const char* path : {"", ".", "..", "a/", "a/.."}) EXPECT_EQ(errno_of(beneath::open_parent(dir(), path)), EINVAL) << path;
}

}  // namespace

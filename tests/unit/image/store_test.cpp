#include <fcntl.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <unistd.h>

#include <future>

#include "unit/image/support.hpp"

namespace sandbox::image {
namespace {

using testing::StoreTest;
using testing::TarBuilder;

class ImageStoreTest : public StoreTest {
 protected:
  /// Expects resolve() of the archive at `path` to fail with `code`, leaving no layer and no unfinished work.
  std::string refused(const std::string& path, ErrorCode code) {
    auto resolved = store_->resolve(Image::tar(path));
    EXPECT_FALSE(resolved);
    if (resolved) return "was not refused";
    EXPECT_EQ(resolved.error().code(), code) << resolved.error().to_string();
    EXPECT_EQ(count(state("layers")), 0u);
    EXPECT_EQ(count(state("work")), 0u);
    return resolved.error().message();
  }
};

TEST_F(ImageStoreTest, IsPrivateToItsOwner) {
  EXPECT_EQ(status(directory_ + "/state/deep").st_mode & 0777, 0700u);
  StoreOptions relative;
  relative.directory = "state";
  EXPECT_EQ(ImageStore::open(relative).error().code(), ErrorCode::invalid_argument);
}

TEST_F(ImageStoreTest, HostIsItself) {
  auto resolved = store_->resolve(Image::host());
  ASSERT_TRUE(resolved);
  EXPECT_TRUE(resolved->host_userland);
  EXPECT_TRUE(resolved->layers.empty());
}

TEST_F(ImageStoreTest, ADirectoryIsUsedWhereItIs) {
  std::filesystem::create_directories(at("rootfs/usr"));
  auto resolved = store_->resolve(Image::directory(at("rootfs")));
  ASSERT_TRUE(resolved) << resolved.error().to_string();
  EXPECT_EQ(resolved->layers, std::vector<std::string>{at("rootfs")});
  const auto before = *store_->identity(Image::directory(at("rootfs")));
  std::filesystem::create_directories(at("rootfs/etc"));
  EXPECT_NE(*store_->identity(Image::directory(at("rootfs"))), before);
}

TEST_F(ImageStoreTest, WhatIsNoImageIsNamed) {
  const auto code = [&](const Image& image) {
    auto resolved = store_->resolve(image);
    EXPECT_FALSE(resolved);
    if (image.reference().starts_with("/")) {
      EXPECT_NE(resolved.error().message().find(image.reference()), std::string::npos);
    }
    return resolved.error().code();
  };
  EXPECT_EQ(code(Image::directory("/no/such/place")), ErrorCode::not_found);
  EXPECT_EQ(code(Image::directory("relative")), ErrorCode::invalid_argument);
  EXPECT_EQ(code(Image::directory(directory_)), ErrorCode::invalid_argument);
  write(at("file"), "x");
  EXPECT_EQ(code(Image::directory(at("file"))), ErrorCode::invalid_argument);
  EXPECT_EQ(code(Image::tar("/no/such.tar")), ErrorCode::not_found);
  EXPECT_EQ(code(Image::tar(at("file"))), ErrorCode::invalid_argument);
  EXPECT_EQ(code(Image::tar(directory_)), ErrorCode::invalid_argument);
  ASSERT_EQ(::mkfifo(at("fifo").c_str(), 0600), 0);
  EXPECT_EQ(code(Image::tar(at("fifo"))), ErrorCode::invalid_argument) << "and nobody waited for a writer";
  EXPECT_EQ(code(Image::from_template("tpl-0123456789abcdef")), ErrorCode::not_found);
  EXPECT_EQ(code(Image::from_template("../../etc/passwd")), ErrorCode::not_found);
}

TEST_F(ImageStoreTest, UnpacksPlainGzipAndZstdOnce) {
  for (const auto packing : {TarBuilder::Packing::plain, TarBuilder::Packing::gzip, TarBuilder::Packing::zstd}) {
    const std::string path = at("image" + std::to_string(static_cast<int>(packing)) + ".tar");
    TarBuilder(path, packing)
        .directory("./")
        .directory("usr/bin", 0750)
        .file("usr/bin/tool", "#!/bin/sh\n", 04755, 1000)
        .file("usr/bin/secret", "s", 0600, 70000)
        .symlink("bin", "usr/bin")
        .symlink("absolute", "/usr/bin/tool")
        .hardlink("usr/bin/other", "usr/bin/tool")
        .file("name with\nnewline", "n")
        .file("not \xff utf-8", "u");
    auto resolved = store_->resolve(Image::tar(path));
    ASSERT_TRUE(resolved) << resolved.error().to_string();
    ASSERT_EQ(resolved->layers.size(), 1u);
    const std::string& root = resolved->layers[0];
    EXPECT_EQ(root, state("layers/" + resolved->digest));
    EXPECT_EQ(read(root + "/usr/bin/tool"), "#!/bin/sh\n");
    EXPECT_EQ(status(root + "/usr/bin").st_mode & 07777, 0750u);
    EXPECT_EQ(status(root + "/usr/bin/tool").st_mode & 07777, 0755u) << "no setuid on this host";
    EXPECT_EQ(status(root + "/usr/bin/tool").st_mtim.tv_sec, 1'600'000'000);
    EXPECT_EQ(status(root + "/usr/bin/tool").st_mtim.tv_nsec, 123'456'789);
    EXPECT_EQ(status(root + "/usr/bin/tool").st_ino, status(root + "/usr/bin/other").st_ino);
    EXPECT_EQ(std::filesystem::read_symlink(root + "/absolute"), "/usr/bin/tool");
    EXPECT_EQ(read(root + "/name with\nnewline"), "n");
    EXPECT_EQ(read(root + "/not \xff utf-8"), "u");
    if (::geteuid() == 0) {
      EXPECT_EQ(status(root + "/usr/bin/tool").st_uid, 1000u);
      EXPECT_EQ(status(root + "/usr/bin/secret").st_uid, 65534u);
    }
    const auto inode = status(root).st_ino;
    auto again = store_->resolve(Image::tar(path));
    ASSERT_TRUE(again);
    EXPECT_EQ(status(again->layers[0]).st_ino, inode);
    EXPECT_EQ(count(state("work")), 0u);
  }
  EXPECT_GT(*store_->disk_usage(), 0u);
}

TEST_F(ImageStoreTest, ConcurrentResolvesUnpackOnce) {
  {
    TarBuilder tar(at("image.tar"));
    tar.directory("usr");
    for (int i = 0; i < 200; ++i) tar.file("usr/f" + std::to_string(i), std::string(1000, 'x'));
  }
  std::vector<std::future<std::string>> callers;
  for (int i = 0; i < 8; ++i)
    callers.push_back(std::async(std::launch::async, [&] {
      auto resolved = store_->resolve(Image::tar(at("image.tar")));
      return resolved ? resolved->layers[0] : resolved.error().to_string();
    }));
  for (auto& caller : callers) EXPECT_EQ(count(caller.get() + "/usr"), 200u);
  EXPECT_EQ(count(state("layers")), 1u);
  EXPECT_EQ(count(state("work")), 0u);
}

TEST_F(ImageStoreTest, NothingLandsOutside) {
  const std::string outside = at("outside");
  std::filesystem::create_directories(outside);
  int number = 0;
  const auto path = [&] { return at("evil" + std::to_string(++number) + ".tar"); };
  std::string tar = path();
  TarBuilder(tar).directory("usr").file("../escaped", "x");
  EXPECT_NE(refused(tar, ErrorCode::invalid_argument).find("escaped"), std::string::npos);
  TarBuilder(tar = path()).directory("usr").file("usr/../../escaped", "x");
  refused(tar, ErrorCode::invalid_argument);
  TarBuilder(tar = path()).symlink("usr", outside).file("usr/escaped", "x");
  refused(tar, ErrorCode::invalid_argument);
  TarBuilder(tar = path()).symlink("usr", "../../../../../../../.." + outside).file("usr/deep/escaped", "x");
  refused(tar, ErrorCode::invalid_argument);
  TarBuilder(tar = path()).directory("usr").symlink("usr/a", ".").symlink("usr/a/b", "..").file("usr/a/b/escaped", "x");
  refused(tar, ErrorCode::invalid_argument);
  write(at("secret"), "secret");
  TarBuilder(tar = path()).directory("usr").hardlink("usr/stolen", "../../../../../../../.." + at("secret"));
  refused(tar, ErrorCode::invalid_argument);
  TarBuilder(tar = path()).directory("usr").symlink("usr/l", at("")).hardlink("usr/stolen", "usr/l/secret");
  refused(tar, ErrorCode::invalid_argument);
  TarBuilder(tar = path()).directory("usr").file("usr/.wh...", "");
  refused(tar, ErrorCode::invalid_argument);
  EXPECT_EQ(count(outside), 0u);
  EXPECT_FALSE(std::filesystem::exists(at("escaped")));
  EXPECT_EQ(status(at("secret")).st_nlink, 1u);
}

TEST_F(ImageStoreTest, AFileThroughItsOwnSymlinkReplacesTheLink) {
  write(at("victim"), "untouched");
  TarBuilder(at("image.tar")).directory("usr").symlink("usr/f", at("victim")).file("usr/f", "mine");
  auto resolved = store_->resolve(Image::tar(at("image.tar")));
  ASSERT_TRUE(resolved) << resolved.error().to_string();
  EXPECT_EQ(read(resolved->layers[0] + "/usr/f"), "mine");
  EXPECT_EQ(read(at("victim")), "untouched");
}

TEST_F(ImageStoreTest, AbsoluteNamesAreTakenBelowTheRoot) {
  TarBuilder(at("image.tar")).directory("/usr").file("/usr//x/./y", "y");
  auto resolved = store_->resolve(Image::tar(at("image.tar")));
  ASSERT_TRUE(resolved) << resolved.error().to_string();
  EXPECT_EQ(read(resolved->layers[0] + "/usr/x/y"), "y");
}

TEST_F(ImageStoreTest, DevicesAndFifosAreLeftOut) {
  TarBuilder(at("image.tar")).directory("usr").device("usr/mem").fifo("usr/pipe").file("usr/f", "f");
  auto resolved = store_->resolve(Image::tar(at("image.tar")));
  ASSERT_TRUE(resolved) << resolved.error().to_string();
  EXPECT_EQ(count(resolved->layers[0] + "/usr"), 1u);
}

TEST_F(ImageStoreTest, WhiteoutsRemoveWhatCameBefore) {
  TarBuilder(at("image.tar")).directory("usr").file("usr/d/f", "f").file("usr/.wh.d", "").file("usr/g", "g");
  auto resolved = store_->resolve(Image::tar(at("image.tar")));
  ASSERT_TRUE(resolved) << resolved.error().to_string();
  EXPECT_EQ(count(resolved->layers[0] + "/usr"), 1u);
}

TEST_F(ImageStoreTest, BombsEndAtTheirLimit) {
  UnpackLimits limits;
  limits.max_entries = 50;
  limits.max_bytes = 4 << 20;
  limits.ratio_from = 1 << 20;
  limits.max_ratio = 100;
  open(limits);
  {
    TarBuilder tar(at("many.tar"));
    tar.directory("usr");
    for (int i = 0; i < 60; ++i) tar.file("usr/" + std::to_string(i), "");
  }
  refused(at("many.tar"), ErrorCode::resource_exhausted);
  {
    std::string deep = "usr";
    for (int i = 0; i < 60; ++i) deep += "/d";
    TarBuilder(at("parents.tar")).file(deep, "");
  }
  refused(at("parents.tar"), ErrorCode::resource_exhausted);
  {
    std::string deep = "usr";
    for (int i = 0; i < 400; ++i) deep += "/d";
    TarBuilder(at("deep.tar")).file(deep, "");
  }
  refused(at("deep.tar"), ErrorCode::invalid_argument);
  TarBuilder(at("big.tar")).directory("usr").file("usr/big", std::string(5 << 20, 'x'));
  refused(at("big.tar"), ErrorCode::resource_exhausted);
  TarBuilder(at("ratio.tar"), TarBuilder::Packing::zstd).directory("usr").file("usr/big", std::string(3 << 20, '\0'));
  refused(at("ratio.tar"), ErrorCode::resource_exhausted);
}

TEST_F(ImageStoreTest, DamagedArchivesAreRefused) {
  TarBuilder(at("image.tar"), TarBuilder::Packing::gzip).directory("usr").file("usr/f", std::string(100000, 'f'));
  const std::string good = read(at("image.tar"));
  write(at("short.tar"), good.substr(0, good.size() / 2));
  refused(at("short.tar"), ErrorCode::corrupt);
  write(at("empty.tar"), "");
  refused(at("empty.tar"), ErrorCode::invalid_argument);
  write(at("noise.tar"), std::string(10000, 'n'));
  refused(at("noise.tar"), ErrorCode::invalid_argument);
  TarBuilder(at("nothing.tar")).file("readme", "not a root file system");
  refused(at("nothing.tar"), ErrorCode::invalid_argument);
}

TEST_F(ImageStoreTest, AnUnreadableArchiveIsPermissionDenied) {
  { TarBuilder(at("image.tar")).directory("usr"); }
  ::chmod(at("image.tar").c_str(), 0);
  std::filesystem::create_directories(at("nobody"));
  ::chmod(directory_.c_str(), 0755);
  if (::geteuid() == 0) {
    ASSERT_EQ(::chown(at("nobody").c_str(), 65534, 65534), 0);
  }
  const pid_t child = ::fork();
  if (child == 0) {  // root reads everything: somebody else must try
    if (::geteuid() == 0 && (::setresgid(65534, 65534, 65534) != 0 || ::setresuid(65534, 65534, 65534) != 0)) ::_exit(2);
    StoreOptions options;
    options.directory = at("nobody") + "/state";
    auto store = ImageStore::open(std::move(options));
    if (!store) ::_exit(3);
    auto resolved = (*store)->resolve(Image::tar(at("image.tar")));
    ::_exit(!resolved && resolved.error().code() == ErrorCode::permission_denied &&
                    resolved.error().message().find("image.tar") != std::string::npos
                ? 0
                : 1);
  }
  int status = -1;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

TEST_F(ImageStoreTest, OpenSweepsWhatDeadProcessesLeftButNotTheLivings) {
  write(state("work/dead/tree/file"), "x");
  write(state("work/alive/tree/file"), "x");
  write(state("templates/tpl-0123456789abcdef.tar.zst"), "half saved");
  const int alive = ::open(state("work/alive").c_str(), O_RDONLY | O_DIRECTORY);
  ASSERT_EQ(::flock(alive, LOCK_EX), 0);
  open();
  EXPECT_FALSE(std::filesystem::exists(state("work/dead")));
  EXPECT_TRUE(std::filesystem::exists(state("work/alive/tree/file")));
  EXPECT_EQ(count(state("templates")), 0u);
  ::close(alive);
  open();
  EXPECT_EQ(count(state("work")), 0u);
}

}  // namespace
}  // namespace sandbox::image

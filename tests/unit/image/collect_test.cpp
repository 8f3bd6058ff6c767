// Layers that nothing uses: found, removed whole, and never one that somebody stands on.
#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <string>
#include <thread>
#include <vector>

#include "core/unique_fd.hpp"
#include "unit/image/support.hpp"

namespace sandbox::image {
namespace {

using testing::StoreTest;
using testing::TarBuilder;
using namespace std::chrono_literals;

class Collect : public StoreTest {
 protected:
  std::string make_tar(const std::string& name, int files = 1) {
    TarBuilder tar(at(name));
    tar.directory("usr");
    for (int i = 0; i < files; ++i) tar.file("usr/f" + std::to_string(i), name + std::to_string(i));
    return at(name);
  }
  ResolvedImage resolve(const Image& image) {
    auto resolved = store_->resolve(image);
    EXPECT_TRUE(resolved) << resolved.error().to_string();
    return resolved ? *std::move(resolved) : ResolvedImage();
  }
  std::vector<PrunedLayer> collect(std::chrono::seconds unused_for = 0s, bool dry_run = false) {
    CollectOptions options;
    options.unused_for = unused_for;
    options.dry_run = dry_run;
    options.measure = true;
    auto removed = store_->collect(options);
    EXPECT_TRUE(removed) << removed.error().to_string();
    return removed ? *std::move(removed) : std::vector<PrunedLayer>();
  }
  std::string save(const std::string& name, Image image = Image::host()) {
    write(at(name + "/root/file"), name);
    const core::UniqueFd directory(::open(at(name).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    ImageStore::TemplateDraft draft;
    draft.label = name;
    draft.image = std::move(image);
    draft.directory = directory.get();
    auto saved = store_->save_template(draft);
    EXPECT_TRUE(saved) << saved.error().to_string();
    return saved ? saved->id : std::string();
  }
  std::size_t layers() const { return count(state("layers")); }
};

TEST_F(Collect, ALayerOfAnArchiveGoesWhenItsTimeIsOver) {
  const Image image = Image::tar(make_tar("a.tar"));
  const std::string digest = resolve(image).digest;
  EXPECT_TRUE(store_->has_layers());
  EXPECT_TRUE(collect(1h).empty());
  later_ = 2h;
  const auto told = collect(1h, true);
  ASSERT_EQ(told.size(), 1u);
  EXPECT_EQ(told[0].digest, digest);
  EXPECT_GT(told[0].size.bytes(), 0u);
  EXPECT_EQ(layers(), 1u) << "a dry run only tells";
  const auto removed = collect(1h);
  ASSERT_EQ(removed.size(), 1u);
  EXPECT_EQ(removed[0].size.bytes(), told[0].size.bytes());
  EXPECT_LT(std::chrono::system_clock::now() - removed[0].last_used, 1h);
  EXPECT_EQ(layers(), 0u);
  EXPECT_FALSE(store_->has_layers());
  EXPECT_EQ(count(state("work")), 0u);
  EXPECT_EQ(read(resolve(image).layers.front() + "/usr/f0"), "a.tar0") << "it is unpacked again";
}

TEST_F(Collect, ForEverIsATimeToo) {
  resolve(Image::tar(make_tar("a.tar")));
  later_ = 24h * 365 * 50;
  EXPECT_TRUE(collect(std::chrono::seconds::max()).empty());
  EXPECT_TRUE(collect(24h * 365 * 1000).empty()) << "more than nanoseconds can say";
  EXPECT_EQ(layers(), 1u);
}

TEST_F(Collect, OneThatDoesNotGoIsInNobodysWay) {
  if (::geteuid() != 0) GTEST_SKIP() << "mounts";
  std::vector<std::string> paths;
  for (const char* name : {"a.tar", "b.tar", "c.tar"}) paths.push_back(resolve(Image::tar(make_tar(name))).layers.front());
  std::ranges::sort(paths);
  store_.reset();
  const pid_t child = ::fork();
  if (child == 0) {
    // What is mounted on, where the collecting process can see it, cannot be renamed.
    if (::unshare(CLONE_NEWNS) != 0 || ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
        ::mount("none", paths.front().c_str(), "tmpfs", 0, nullptr) != 0)
      ::_exit(1);
    auto store = another_store();
    if (!store) ::_exit(2);
    const auto removed = (*store)->collect(CollectOptions());
    ::_exit(removed ? 3 : removed.error().sys_errno());
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  ASSERT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), EBUSY);
  open();
  EXPECT_EQ(layers(), 1u);
  EXPECT_EQ(count(state("work")), 0u);
  EXPECT_EQ(collect().size(), 1u);
}

TEST_F(Collect, ALinkWithTheNameOfALayerIsNotFollowed) {
  const ResolvedImage image = resolve(Image::tar(make_tar("a.tar")));
  const std::string outside = at("outside"), link = state("layers/" + std::string(64, 'a'));
  write(outside + "/file", "mine");
  std::filesystem::create_directory_symlink(outside, link);
  write(state("layers/" + std::string(64, 'b')), "a file");
  EXPECT_TRUE(collect().empty());
  EXPECT_EQ(layers(), 3u);
  EXPECT_EQ(read(outside + "/file"), "mine");
}

TEST_F(Collect, WhatIsUsedStays) {
  const Image image = Image::tar(make_tar("a.tar"));
  {
    const ResolvedImage used = resolve(image);
    later_ = 1000h;
    EXPECT_EQ(used.pinned, used.layers);
    EXPECT_TRUE(collect().empty());
    EXPECT_EQ(read(used.layers.front() + "/usr/f0"), "a.tar0");
  }
  EXPECT_EQ(collect().size(), 1u);
}

TEST_F(Collect, EachUseBeginsItsTimeAnew) {
  const Image image = Image::tar(make_tar("a.tar"));
  const std::string path = resolve(image).layers.front();
  const auto used = [&] {
    const timespec time = status(path).st_ctim;
    return std::pair(time.tv_sec, time.tv_nsec);
  };
  const auto before = used();
  const auto until = std::chrono::steady_clock::now() + 10s;
  while (used() == before && std::chrono::steady_clock::now() < until) resolve(image);  // the kernel's clock has ticks
  EXPECT_GT(used(), before);
}

TEST_F(Collect, WhatATemplateIsOrStandsOnStays) {
  const Image image = Image::tar(make_tar("a.tar"));
  const std::string base = resolve(image).digest;
  const std::string id = save("first", image);
  const std::string child = save("second", Image::from_template(id));
  resolve(Image::from_template(child));
  ASSERT_EQ(layers(), 3u);
  EXPECT_TRUE(collect().empty());
  ASSERT_TRUE(store_->remove_template(id));
  EXPECT_TRUE(collect().empty()) << "the second stands on it too";
  open();  // another process, which has not read the archive
  save("second", Image::from_template(child));
  EXPECT_TRUE(collect().empty());
  auto all = store_->templates();
  ASSERT_TRUE(all);
  for (const TemplateInfo& info : *all) EXPECT_TRUE(store_->remove_template(info.id));
  const auto removed = collect();
  ASSERT_EQ(removed.size(), 1u);
  EXPECT_EQ(removed[0].digest, base);
}

TEST_F(Collect, WhatADamagedTemplateLeftBehindGoes) {
  const std::string id = save("w");
  resolve(Image::from_template(id));
  write(state("templates/" + id + ".meta"), "damaged");
  EXPECT_TRUE(collect().empty()) << "its id still says which layer it needs";
  ASSERT_TRUE(store_->remove_template(id));
  EXPECT_EQ(layers(), 1u);
  EXPECT_EQ(collect().size(), 1u);
  EXPECT_EQ(layers(), 0u);
}

TEST_F(Collect, OtherNamesAreNotOurs) {
  std::filesystem::create_directories(state("layers/lost+found"));
  EXPECT_TRUE(collect().empty());
  EXPECT_EQ(layers(), 1u);
}

TEST_F(Collect, TakesNoMoreThanAsked) {
  for (const char* name : {"a.tar", "b.tar", "c.tar"}) resolve(Image::tar(make_tar(name)));
  CollectOptions options;
  options.most = 2;
  EXPECT_EQ(store_->collect(options)->size(), 2u);
  EXPECT_EQ(layers(), 1u);
}

TEST_F(Collect, WhatAnotherProcessUsesStaysUntilItIsDead) {
  const std::string tar = make_tar("a.tar");
  int ready[2];
  ASSERT_EQ(::pipe2(ready, O_CLOEXEC), 0);
  store_.reset();
  const pid_t child = ::fork();
  if (child == 0) {
    auto store = another_store();
    if (!store) ::_exit(1);
    auto resolved = (*store)->resolve(Image::tar(tar));
    (void)!::write(ready[1], resolved ? "y" : "n", 1);
    for (;;) ::pause();
  }
  char answer = 0;
  ASSERT_EQ(::read(ready[0], &answer, 1), 1);
  ASSERT_EQ(answer, 'y');
  open();
  EXPECT_TRUE(collect().empty());
  EXPECT_EQ(layers(), 1u);
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  EXPECT_EQ(collect().size(), 1u);
  for (int fd : ready) ::close(fd);
}

TEST_F(Collect, NobodyLosesWhatItResolvesMeanwhile) {
  const Image image = Image::tar(make_tar("a.tar", 20));
  auto other = another_store();
  ASSERT_TRUE(other);
  std::atomic<bool> done{false};
  std::atomic<int> removed{0};
  std::thread collector([&] {
    while (!done) {
      auto gone = (*other)->collect(CollectOptions());
      EXPECT_TRUE(gone) << gone.error().to_string();
      if (gone) removed += static_cast<int>(gone->size());
    }
  });
  // Until it was taken from between two uses a few times.
  const auto until = std::chrono::steady_clock::now() + 60s;
  while ((removed < 10) && std::chrono::steady_clock::now() < until && !HasFailure()) {
    const ResolvedImage used = resolve(image);
    for (int i = 0; i < 20 && !HasFailure(); ++i) EXPECT_EQ(read(used.layers.front() + "/usr/f" + std::to_string(i)), "a.tar" + std::to_string(i));
  }
  done = true;
  collector.join();
  EXPECT_GE(removed, 10);
}

// The collecting process is killed at many moments, until some were too early and some too late for the layer: it is there
// whole or not at all.
TEST_F(Collect, AKillInTheMiddleLeavesWholeLayers) {
  constexpr int kFiles = 200, kMoments = 10;
  const Image image = Image::tar(make_tar("a.tar", kFiles));
  int left = 0, gone = 0;
  for (int round = 0; round < 200 && (round < kMoments || left == 0 || gone == 0) && !HasFailure(); ++round) {
    resolve(image);
    store_.reset();
    const pid_t child = ::fork();
    if (child == 0) {
      auto store = another_store();
      ::_exit(store && (*store)->collect(CollectOptions()) ? 0 : 1);
    }
    ::usleep(static_cast<useconds_t>(round % kMoments * 600 * (1 + round / kMoments)));  // at once, and ever later
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
    open();
    EXPECT_EQ(count(state("work")), 0u);
    for (const auto& layer : std::filesystem::directory_iterator(state("layers"))) {
      ++left;
      EXPECT_EQ(count(layer.path() / "usr"), static_cast<std::size_t>(kFiles));
    }
    gone += 1 - static_cast<int>(layers());
  }
  EXPECT_GT(left, 0);
  EXPECT_GT(gone, 0);
}

}  // namespace
}  // namespace sandbox::image

// The runtime over the native backend on the real kernel: pools, overload, events, templates, launchers that die.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <condition_variable>
#include <fstream>
#include <future>
#include <mutex>
#include <thread>

#include <sandbox/runtime.hpp>
#include <sandbox/sandbox.hpp>

#include "support/eventually.hpp"
#include "support/live_runtime.hpp"

namespace sandbox::testing {
namespace {

using namespace std::chrono_literals;
using Kind = RuntimeEvent::Kind;

/// Launchers that are children of this process.
std::vector<pid_t> launchers_of_ours() {
  std::vector<pid_t> found;
  for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
    const std::string text = entry.path().filename();
    if (text.find_first_not_of("0123456789") != std::string::npos) continue;
    std::ifstream in(entry.path() / "stat");
    std::string pid, comm, state, parent;
    if (!(in >> pid >> comm >> state >> parent) || parent != std::to_string(::getpid()) || state == "Z") continue;
    // By its program: it may run from a descriptor, and then its name is that descriptor's number.
    std::error_code error;
    const std::string program = std::filesystem::read_symlink(entry.path() / "exe", error);
    if (program.find("sandbox-launcher") != std::string::npos) found.push_back(std::stoi(pid));
  }
  return found;
}

class RuntimeIntegration : public ::testing::Test {
 protected:
  void open(RuntimeOptions options = RuntimeOptions()) {
    options.state_directory(directory_.path()).on_event([this](const RuntimeEvent& event) {
      std::lock_guard lock(mutex_);
      events_.push_back(event);
      changed_.notify_all();
    });
    auto opened = Runtime::open(std::move(options));
    if (!opened && opened.error().code() == ErrorCode::unsupported) GTEST_SKIP() << opened.error().to_string();
    ASSERT_TRUE(opened) << opened.error().to_string();
    runtime_ = std::make_unique<Runtime>(*std::move(opened));
  }
  void TearDown() override {
    if (!runtime_) return;
    auto closed = runtime_->close();
    EXPECT_TRUE(closed) << closed.error().to_string();
    EXPECT_TRUE(launchers_of_ours().empty());
  }
  bool wait_for(Kind kind, int count = 1) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, 20s, [&] {
      return std::count_if(events_.begin(), events_.end(), [&](const RuntimeEvent& e) { return e.kind == kind; }) >= count;
    });
  }
  std::string detail(Kind kind) {
    std::lock_guard lock(mutex_);
    for (const RuntimeEvent& event : events_)
      if (event.kind == kind) return event.detail;
    return {};
  }
  /// The id of a template of what `line` makes.
  std::string template_of(const std::string& line) {
    Sandbox box = runtime_->create().value();
    run(box, line);
    std::string id = box.save_template("t").value().id;
    box.close().value();
    return id;
  }
  static std::string run(Sandbox& box, const std::string& line) {
    auto result = box.process().exec(line);
    EXPECT_TRUE(result) << result.error().to_string();
    if (!result) return {};
    EXPECT_TRUE(result->ok()) << line << ": " << result->stderr_text();
    return std::string(result->stdout_text());
  }

  StateDirectory directory_;
  std::unique_ptr<Runtime> runtime_;

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<RuntimeEvent> events_;
};

TEST_F(RuntimeIntegration, WarmAndColdCreatesWork) {
  open(RuntimeOptions().warm(2));
  auto warm = runtime_->wait_warm();
  ASSERT_TRUE(warm) << warm.error().to_string();
  auto first = runtime_->create();
  ASSERT_TRUE(first) << first.error().to_string();
  EXPECT_EQ(run(*first, "echo hello"), "hello\n");
  auto second = runtime_->create(SandboxSpec(), CreateOptions().cold());
  ASSERT_TRUE(second) << second.error().to_string();
  EXPECT_EQ(run(*second, "echo cold"), "cold\n");
  EXPECT_NE(first->id(), second->id());
  EXPECT_EQ(runtime_->live(), 2u);
  EXPECT_EQ(runtime_->pools().at(0).hits, 1u);
  EXPECT_TRUE(first->close());
  EXPECT_EQ(runtime_->live(), 1u);
  EXPECT_TRUE(wait_for(Kind::created, 2));
  EXPECT_TRUE(wait_for(Kind::destroyed));
}

TEST_F(RuntimeIntegration, TenfoldOverloadQueuesAndNothingFails) {
  open(RuntimeOptions().max_sandboxes(4));
  std::vector<std::future<bool>> callers;
  for (int i = 0; i < 40; ++i)
    callers.push_back(std::async(std::launch::async, [&] {
      auto box = runtime_->create(SandboxSpec(), CreateOptions().deadline(60s));
      if (!box) {
        ADD_FAILURE() << box.error().to_string();
        return false;
      }
      return run(*box, "true").empty() && box->close().has_value();
    }));
  for (auto& caller : callers) EXPECT_TRUE(caller.get());
  EXPECT_EQ(runtime_->live(), 0u);
}

TEST_F(RuntimeIntegration, ASandboxThatRunsOutOfMemoryDoesNotDisturbItsNeighbour) {
  open();
  auto neighbour = runtime_->create();
  auto box = runtime_->create(SandboxSpec().limits(Limits().memory(ByteCount::mib(32))), CreateOptions());
  ASSERT_TRUE(neighbour && box);
  auto result = box->process().exec(Command("head -c 200M /dev/zero | tail"));
  if (result) {
    EXPECT_FALSE(result->ok());
  } else {  // the kernel took its first process: then it is lost, and said so
    EXPECT_EQ(result.error().code(), ErrorCode::unavailable);
    EXPECT_TRUE(wait_for(Kind::lost));
  }
  EXPECT_EQ(run(*neighbour, "echo fine"), "fine\n");
}

TEST_F(RuntimeIntegration, TemplatesComeBackAfterReopening) {
  open();
  std::string id;
  {
    auto box = runtime_->create();
    ASSERT_TRUE(box) << box.error().to_string();
    run(*box, "mkdir -p /root/p/q && echo data > /root/p/q/file && chmod 741 /root/p/q/file && ln -s q/file /root/p/link "
              "&& ln /root/p/q/file /root/p/hard && echo t > /tmp/t && chmod 1770 /root/p && head -c 3M /dev/urandom > /root/big");
    const std::string sum = run(*box, "sha256sum < /root/big");
    auto saved = box->save_template("first");
    ASSERT_TRUE(saved) << saved.error().to_string();
    EXPECT_EQ(run(*box, "echo goes on"), "goes on\n");
    id = saved->id;
    EXPECT_TRUE(wait_for(Kind::template_saved));

    ASSERT_TRUE(runtime_->close());
    open();
    ASSERT_EQ(runtime_->templates().value().size(), 1u);
    EXPECT_EQ(runtime_->find_template(id).value().label, "first");
    auto copy = runtime_->create(SandboxSpec().image(Image::from_template(id)));
    ASSERT_TRUE(copy) << copy.error().to_string();
    EXPECT_EQ(run(*copy, "cat /root/p/link /root/p/hard /tmp/t"), "data\ndata\nt\n");
    EXPECT_EQ(run(*copy, "stat -c '%a %u' /root/p /root/p/q/file"), "1770 0\n741 0\n");
    EXPECT_EQ(run(*copy, "sha256sum < /root/big"), sum);

    // A template of a template: changed, removed and new files.
    run(*copy, "echo changed > /root/p/q/file && rm /root/big && echo new > /root/new && rm -r /root/p/link && mkdir /root/p/link");
    auto child = copy->save_template("second");
    ASSERT_TRUE(child) << child.error().to_string();
    auto grandchild = runtime_->create(SandboxSpec().image(Image::from_template(child->id)));
    ASSERT_TRUE(grandchild) << grandchild.error().to_string();
    EXPECT_EQ(run(*grandchild, "cat /root/p/q/file /root/p/hard /root/new /tmp/t"), "changed\ndata\nnew\nt\n");
    EXPECT_EQ(run(*grandchild, "test -d /root/p/link && test ! -e /root/big && echo yes"), "yes\n");

    auto busy = runtime_->remove_template(id);
    ASSERT_FALSE(busy);
    EXPECT_EQ(busy.error().code(), ErrorCode::failed_precondition);
  }
  auto removed = runtime_->remove_template(id);
  EXPECT_TRUE(removed) << removed.error().to_string();
}

/// Layers in the state directory.
std::size_t layers_in(const std::string& directory) {
  return static_cast<std::size_t>(std::distance(std::filesystem::directory_iterator(directory + "/layers"), {}));
}

PruneOptions everything() {
  PruneOptions options;
  options.unused_for = 0s;
  return options;
}

TEST_F(RuntimeIntegration, PruningLeavesTheLayerOfASandboxWhoseTemplateIsGone) {
  open();
  const std::string id = template_of("echo data > /root/file; for i in $(seq 200); do echo $i > /root/f$i; done");
  auto copy = runtime_->create(SandboxSpec().image(Image::from_template(id)));
  ASSERT_TRUE(copy) << copy.error().to_string();
  // Its record is damaged, and another runtime of the directory removes it.
  std::ofstream(directory_.path() + "/templates/" + id + ".meta") << "damaged";
  {
    auto other = Runtime::open(RuntimeOptions().state_directory(directory_.path()).launchers(1));
    ASSERT_TRUE(other) << other.error().to_string();
    auto removed = other->remove_template(id);
    ASSERT_TRUE(removed) << removed.error().to_string();
    EXPECT_TRUE(runtime_->templates()->empty());
    for (Runtime* each : {&*other, runtime_.get()}) {
      auto pruned = each->prune(everything());
      ASSERT_TRUE(pruned) << pruned.error().to_string();
      EXPECT_TRUE(pruned->empty());
    }
  }
  EXPECT_EQ(layers_in(directory_.path()), 1u);
  EXPECT_EQ(run(*copy, "cat /root/file /root/f200"), "data\n200\n");
  ASSERT_TRUE(copy->close());
  ASSERT_TRUE(runtime_->close());
  open();
  EXPECT_EQ(layers_in(directory_.path()), 1u) << "it is young";
  auto pruned = runtime_->prune(everything());
  ASSERT_TRUE(pruned) << pruned.error().to_string();
  ASSERT_EQ(pruned->size(), 1u);
  EXPECT_GT(pruned->front().size.bytes(), 200u * 4096);
  EXPECT_EQ(layers_in(directory_.path()), 0u);
}

TEST_F(RuntimeIntegration, PruningTakesWhatTheRuntimeItselfNoLongerUses) {
  open();
  const std::string id = template_of("echo data > /root/file");
  auto copy = runtime_->create(SandboxSpec().image(Image::from_template(id)));
  ASSERT_TRUE(copy) << copy.error().to_string();
  for (const char* suffix : {".meta", ".tar.zst"}) ASSERT_EQ(::unlink((directory_.path() + "/templates/" + id + suffix).c_str()), 0);
  EXPECT_TRUE(runtime_->prune(everything())->empty()) << "a sandbox stands on it";
  EXPECT_EQ(run(*copy, "cat /root/file"), "data\n");
  ASSERT_TRUE(copy->close());
  copy = Error(ErrorCode::cancelled, "closed");
  copy.error().ignore("a handle no longer");
  EXPECT_TRUE(runtime_->prune(PruneOptions())->empty()) << "it is young, and so is what the runtime remembers of it";
  // The end of the sandbox itself is seen a moment later.
  EXPECT_TRUE(eventually([&] { return runtime_->prune(everything())->size() == 1; }));
  EXPECT_EQ(layers_in(directory_.path()), 0u);
}

TEST_F(RuntimeIntegration, PruningLeavesTheLayerOfASandboxThatOutlivesItsRuntime) {
  open(RuntimeOptions().persistent().launchers(1));
  const std::string id = template_of("echo data > /root/file");
  {
    auto copy = runtime_->create(SandboxSpec().image(Image::from_template(id)));
    ASSERT_TRUE(copy) << copy.error().to_string();
    ASSERT_TRUE(runtime_->leave());
  }
  runtime_.reset();
  // Nobody but the launcher has it now, and no template says that it is needed.
  for (const char* suffix : {".meta", ".tar.zst"}) ASSERT_EQ(::unlink((directory_.path() + "/templates/" + id + suffix).c_str()), 0);
  {
    auto other = Runtime::open(RuntimeOptions().state_directory(directory_.path()).launchers(1));
    ASSERT_TRUE(other) << other.error().to_string();
    auto pruned = other->prune(everything());
    ASSERT_TRUE(pruned) << pruned.error().to_string();
    EXPECT_TRUE(pruned->empty());
  }
  open(RuntimeOptions().persistent().launchers(1));
  auto adoption = runtime_->adopted();
  ASSERT_EQ(adoption.sandboxes.size(), 1u);
  EXPECT_TRUE(runtime_->prune(everything())->empty());
  EXPECT_EQ(run(adoption.sandboxes[0], "cat /root/file"), "data\n");
  ASSERT_TRUE(adoption.sandboxes[0].close());
  auto pruned = runtime_->prune(everything());
  ASSERT_TRUE(pruned) << pruned.error().to_string();
  EXPECT_EQ(pruned->size(), 1u);
  EXPECT_EQ(layers_in(directory_.path()), 0u);
}

TEST_F(RuntimeIntegration, ATemplateCanBeRemovedAsSoonAsItsSandboxIsClosed) {
  open(RuntimeOptions().persistent().launchers(1));
  auto box = runtime_->create();
  ASSERT_TRUE(box) << box.error().to_string();
  for (int i = 0; i < 20 && !HasFailure(); ++i) {
    auto saved = box->save_template("t");
    ASSERT_TRUE(saved) << saved.error().to_string();
    auto copy = runtime_->create(SandboxSpec().image(Image::from_template(saved->id)));
    ASSERT_TRUE(copy) << copy.error().to_string();
    EXPECT_OK(copy->close());
    EXPECT_OK(runtime_->remove_template(saved->id));  // the launcher holds nothing of it any more
  }
}

TEST_F(RuntimeIntegration, OpeningRemovesWhatNothingUsedForLong) {
  open();
  auto box = runtime_->create();
  ASSERT_TRUE(box) << box.error().to_string();
  auto saved = box->save_template("t");
  ASSERT_TRUE(saved) << saved.error().to_string();
  auto copy = runtime_->create(SandboxSpec().image(Image::from_template(saved->id)));
  ASSERT_TRUE(copy) << copy.error().to_string();
  ASSERT_TRUE(runtime_->close());
  for (const char* suffix : {".meta", ".tar.zst"}) ASSERT_EQ(::unlink((directory_.path() + "/templates/" + saved->id + suffix).c_str()), 0);
  open(RuntimeOptions().prune_after(0s));  // never
  ASSERT_TRUE(runtime_->close());
  EXPECT_EQ(layers_in(directory_.path()), 1u);
  // Every second a little longer unused.
  EXPECT_TRUE(eventually([&] {
    open(RuntimeOptions().prune_after(1s));
    return runtime_->close() && layers_in(directory_.path()) == 0;
  }));
}

TEST_F(RuntimeIntegration, AWritableRootIsSavedWithItsRemovals) {
  open();
  const SandboxSpec spec = SandboxSpec().writable_root();
  auto box = runtime_->create(spec);
  ASSERT_TRUE(box) << box.error().to_string();
  run(*box, "echo mine > /etc/mine && rm /etc/passwd && mkdir /opt/tool && echo x > /opt/tool/x");
  auto saved = box->save_template("root");
  ASSERT_TRUE(saved) << saved.error().to_string();
  EXPECT_TRUE(saved->writable_root);
  auto copy = runtime_->create(SandboxSpec(spec).image(Image::from_template(saved->id)));
  ASSERT_TRUE(copy) << copy.error().to_string();
  EXPECT_EQ(run(*copy, "cat /etc/mine /opt/tool/x; test -e /etc/passwd || echo gone"), "mine\nx\ngone\n");
}

TEST_F(RuntimeIntegration, ADeadLauncherIsReplacedAndThePoolRefills) {
  open(RuntimeOptions().warm(2).launchers(2));
  ASSERT_TRUE(runtime_->wait_warm());
  auto box = runtime_->create();
  ASSERT_TRUE(box) << box.error().to_string();
  const std::vector<pid_t> launchers = launchers_of_ours();
  ASSERT_EQ(launchers.size(), 2u);
  for (const pid_t pid : launchers) ASSERT_EQ(::kill(pid, SIGKILL), 0);
  ASSERT_TRUE(wait_for(Kind::lost)) << "its sandboxes die with it";
  EXPECT_EQ(box->process().exec(Command("true")).error().code(), ErrorCode::unavailable);
  ASSERT_TRUE(wait_for(Kind::launcher_restarted));
  auto again = runtime_->create();
  ASSERT_TRUE(again) << again.error().to_string();
  EXPECT_EQ(run(*again, "echo back"), "back\n");
  auto warm = runtime_->wait_warm();
  EXPECT_TRUE(warm) << warm.error().to_string();
}

TEST_F(RuntimeIntegration, ATarImageIsUnpackedAndRuns) {
  // A root file system of a few programs of this host, packed by tar(1).
  const std::string root = directory_.path() + "-rootfs", tar = directory_.path() + "-rootfs.tar.gz";
  const std::string make = "set -e; mkdir -p " + root + "/usr/bin; ln -s usr/bin " + root + "/bin; cp /bin/busybox " + root +
                           "/usr/bin/busybox; for p in sh echo cat; do ln -s busybox " + root + "/usr/bin/$p; done; " +
                           "echo from-the-tar > " + root + "/marker; tar -C " + root + " -czf " + tar + " .";
  if (::access("/bin/busybox", X_OK) != 0) GTEST_SKIP() << "no busybox on this host";
  ASSERT_EQ(std::system(make.c_str()), 0);
  open();
  auto box = runtime_->create(SandboxSpec().image(Image::tar(tar)));
  std::filesystem::remove_all(root);
  std::filesystem::remove(tar);
  ASSERT_TRUE(box) << box.error().to_string();
  EXPECT_EQ(run(*box, "cat /marker"), "from-the-tar\n");
}

TEST_F(RuntimeIntegration, ClosingManySandboxesIsQuick) {
  open(RuntimeOptions().warm(10));
  ASSERT_TRUE(runtime_->wait_warm());
  std::vector<Sandbox> boxes;
  for (int i = 0; i < 20; ++i) {
    auto box = runtime_->create();
    ASSERT_TRUE(box) << box.error().to_string();
    boxes.push_back(*std::move(box));
  }
  const auto start = std::chrono::steady_clock::now();
  EXPECT_TRUE(runtime_->close());
  const auto took = std::chrono::steady_clock::now() - start;
  RecordProperty("close_us", static_cast<int>(std::chrono::duration_cast<std::chrono::microseconds>(took).count()));
  EXPECT_LT(took, 2s);
  for (Sandbox& box : boxes) EXPECT_TRUE(box.closed());
}

}  // namespace
}  // namespace sandbox::testing

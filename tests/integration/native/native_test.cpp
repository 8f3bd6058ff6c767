#include <algorithm>
#include "backends/native/instance.hpp"
#include "backends/native/native.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <thread>

#include "os/syscalls.hpp"
#include "session/session.hpp"
#include "support/eventually.hpp"
#include "support/ledger.hpp"

namespace {

using namespace sandbox;
using namespace std::chrono_literals;
using ::testing::HasSubstr;
using sandbox::testing::eventually;

core::TimePoint in(std::chrono::milliseconds time) { return core::SteadyClock::now() + time; }

backend::ResolvedImage host_image() {
  backend::ResolvedImage image;
  image.host_userland = true;
  return image;
}

/// Talks to the agent until its hello was read.
Result<protocol::Hello> hello_of(int stream) {
  session::SessionHandler handler;
  session::Session session(session::Role::client, {}, handler);
  const auto deadline = in(5s);
  while (!session.ready()) {
    const ByteView out = session.output();
    if (!out.empty()) {
      const ssize_t sent = ::send(stream, out.data(), out.size(), MSG_NOSIGNAL);
      if (sent > 0) session.sent(static_cast<std::size_t>(sent));
    }
    pollfd news{stream, POLLIN, 0};
    if (::poll(&news, 1, 100) > 0) {
      std::byte buffer[65536];
      const ssize_t count = ::recv(stream, buffer, sizeof buffer, MSG_DONTWAIT);
      if (count == 0) return Error(ErrorCode::unavailable, "end of stream");
      if (count > 0) SANDBOX_CHECK(session.receive(ByteView(buffer, static_cast<std::size_t>(count))));
    }
    if (core::SteadyClock::now() > deadline) return Error(ErrorCode::deadline_exceeded, "no hello");
  }
  return session.peer();
}

class Native : public ::testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "needs root";
    backend_ = native::make_backend();
  }
  void TearDown() override {
    if (backend_) backend_->close().value();
  }
  std::shared_ptr<backend::Recipe> recipe(const SandboxSpec& spec = SandboxSpec(), const backend::ResolvedImage& image = host_image()) {
    return backend_->prepare(spec, image).value();
  }
  static std::unique_ptr<backend::Instance> create_silent(backend::Recipe& recipe) { return recipe.create(in(10s)).value(); }
  /// One whose agent has started; its stream is used up.
  static std::unique_ptr<backend::Instance> create(backend::Recipe& recipe) {
    auto made = create_silent(recipe);
    start(*made).value();
    return made;
  }
  static Result<void> start(backend::Instance& box) { return static_cast<native::NativeInstance&>(box).greet(in(10s)); }
  std::unique_ptr<backend::Backend> backend_;
};

TEST_F(Native, MakesASandboxWhoseAgentSeesEveryLock) {
  auto kind = recipe();
  auto box = create_silent(*kind);
  const auto stream = box->take_stream();
  auto hello = hello_of(stream.get());
  ASSERT_TRUE(hello) << hello.error().to_string();
  ASSERT_TRUE(hello->facts.has_value());
  const auto verified = box->verify(*hello->facts);
  EXPECT_TRUE(verified) << verified.error().to_string();
  EXPECT_THAT(box->unenforced(), ::testing::IsEmpty());
}

TEST_F(Native, WritableRootIsAlsoVerified) {
  auto kind = recipe(SandboxSpec().writable_root());
  auto box = create_silent(*kind);
  const auto stream = box->take_stream();
  auto hello = hello_of(stream.get());
  ASSERT_TRUE(hello) << hello.error().to_string();
  const auto verified = box->verify(hello->facts.value());
  EXPECT_TRUE(verified) << verified.error().to_string();
}

TEST_F(Native, VerifyNamesTheLockThatIsOff) {
  auto kind = recipe();
  auto box = create_silent(*kind);
  const auto stream = box->take_stream();
  const protocol::Facts good = hello_of(stream.get()).value().facts.value();
  const auto refused = [&](auto change) {
    protocol::Facts facts = good;
    change(facts);
    auto result = box->verify(facts);
    return result ? std::string("accepted") : result.error().message();
  };
  EXPECT_THAT(refused([](auto& f) { f.cap_bounding = 1; }), HasSubstr("capability"));
  EXPECT_THAT(refused([](auto& f) { f.seccomp_mode = 0; }), HasSubstr("filter"));
  EXPECT_THAT(refused([](auto& f) { f.no_new_privs = false; }), HasSubstr("no_new_privs"));
  EXPECT_THAT(refused([](auto& f) { f.pid = 7; }), HasSubstr("process 1"));
  EXPECT_THAT(refused([](auto& f) { f.dumpable = true; }), HasSubstr("dumped"));
  EXPECT_THAT(refused([](auto& f) { f.open_doors.push_back("mount"); }), HasSubstr("mount"));
  EXPECT_THAT(refused([](auto& f) { f.interfaces.push_back("eth7"); }), HasSubstr("eth7"));
  EXPECT_THAT(refused([](auto& f) { f.mounts.push_back({"/host", "ext4 ro,nosuid,nodev"}); }), HasSubstr("/host"));
  EXPECT_THAT(refused([](auto& f) { for (auto& m : f.mounts) if (m.key == "/tmp") m.value = "tmpfs rw,nosuid,nodev"; }), HasSubstr("/tmp"));
  EXPECT_THAT(refused([](auto& f) { for (auto& m : f.mounts) if (m.key == "/usr") m.value = "ext4 rw,nosuid,nodev"; }), HasSubstr("/usr"));
  EXPECT_THAT(refused([](auto& f) { std::erase_if(f.mounts, [](auto& m) { return m.key == "/proc"; }); }), HasSubstr("/proc"));
  EXPECT_THAT(refused([](auto& f) {
                char target[64];
                const ssize_t size = ::readlink("/proc/self/ns/net", target, sizeof target);
                for (auto& n : f.namespaces) if (n.key == "net") n.value.assign(target, static_cast<std::size_t>(size));
              }), HasSubstr("net namespace"));
}

TEST_F(Native, ProbeMakesOneForReal) {
  auto report = backend_->probe(in(10s));
  ASSERT_TRUE(report) << report.error().to_string();
  EXPECT_EQ(report->backend, "native");
  EXPECT_FALSE(report->rootless);
  EXPECT_THAT(report->enforced, ::testing::IsSupersetOf({"seccomp", "disk", "open_files"}));
}

TEST_F(Native, CreateAndDestroyLeaveNothing) {
  auto kind = recipe();
  create(*kind);  // whatever is made once is made now
  // Backlogs fill up when the launchers are idle.
  const auto before = sandbox::testing::steady([] { return sandbox::testing::Ledger::take(); });
  for (int i = 0; i < 20; ++i) create(*kind)->destroy().value();
  // Backlogs are refilled by as many as were taken; cgroup directories carry new numbers, so compare how many.
  std::string difference;
  eventually([&] {
    const auto after = sandbox::testing::Ledger::take();
    difference.clear();
    if (after.descriptors != before.descriptors) difference += "descriptors ";
    if (after.mounts != before.mounts) difference += "mounts ";
    if (after.cgroups.size() != before.cgroups.size()) difference += "cgroups " + std::to_string(before.cgroups.size()) + " -> " + std::to_string(after.cgroups.size());
    if (after.processes != before.processes) difference += "processes ";
    if (after.links != before.links) difference += "links ";
    return difference.empty();
  });
  EXPECT_EQ(difference, "");
}

TEST_F(Native, ClosingTheBackendLeavesNothing) {
  const auto before = sandbox::testing::Ledger::take();
  {
    auto kind = recipe();
    auto box = create(*kind);
    auto other = create(*kind);
    backend_->close().value();
    pollfd end{box->exit_fd(), POLLIN, 0};
    EXPECT_EQ(::poll(&end, 1, 15000), 1) << "a sandbox outlived the backend";
    auto late = kind->create(in(1s));
    ASSERT_FALSE(late);
    EXPECT_EQ(late.error().code(), ErrorCode::unavailable);
  }
  EXPECT_EQ(sandbox::testing::settle(before, 15s), "");
}

/// Runs native_holder, waits until its sandboxes live and returns its pid.
int start_holder() {
  int ends[2];
  EXPECT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  const char* bin = std::getenv("SANDBOX_BIN_DIR");
  const std::string program = std::filesystem::read_symlink("/proc/self/exe").parent_path() / "native_holder";
  const int pid = ::fork();
  if (pid == 0) {
    ::dup2(ends[1], 1);
    if (bin) ::setenv("SANDBOX_BIN_DIR", bin, 1);
    ::execl(program.c_str(), program.c_str(), nullptr);
    ::_exit(127);
  }
  ::close(ends[1]);
  char line[256] = {};
  EXPECT_GT(::read(ends[0], line, sizeof line - 1), 0);
  EXPECT_STREQ(line, "ready\n");
  ::close(ends[0]);
  return pid;
}

TEST_F(Native, KilledEmbedderLeavesNothing) {
  const auto before = sandbox::testing::Ledger::take();
  const int holder = start_holder();
  const auto family = sandbox::testing::descendants(holder);
  EXPECT_GE(family.size(), 8u);  // two launchers, six agents
  ASSERT_EQ(::kill(holder, SIGKILL), 0);
  ::waitpid(holder, nullptr, 0);
  EXPECT_EQ(sandbox::testing::settle(before, 15s), "");
  for (const auto& [pid, name] : family) {
    EXPECT_TRUE(eventually([&] { return ::kill(pid, 0) != 0; })) << name << " lives on";
  }
}

TEST_F(Native, KilledLauncherTakesItsSandboxesAndTheNextOneSweeps) {
  const auto before = sandbox::testing::Ledger::take();
  const int holder = start_holder();
  const auto family = sandbox::testing::descendants(holder);
  for (const auto& [pid, name] : family)
    if (name.find("launch") != name.npos) ::kill(pid, SIGKILL);
  for (const auto& [pid, name] : family) {
    if (name.find("launch") != name.npos) continue;  // remains as a zombie of the holder
    EXPECT_TRUE(eventually([&] { return ::kill(pid, 0) != 0; })) << name << " outlived its launcher";
  }
  ::kill(holder, SIGKILL);
  ::waitpid(holder, nullptr, 0);
  create(*recipe());  // a new launcher sweeps what the dead ones left
  backend_->close().value();
  EXPECT_EQ(sandbox::testing::settle(before, 15s), "");
}

TEST_F(Native, ManyThreadsCreateAtOnce) {
  auto kind = recipe();
  std::vector<std::thread> threads;
  std::atomic<int> made{0}, failed{0};
  std::mutex mutex;
  std::string first;
  for (int t = 0; t < 8; ++t)
    threads.emplace_back([&] {
      for (int i = 0; i < 8; ++i) {
        auto box = kind->create(in(20s));
        if (box) {
          ++made;
        } else {
          ++failed;
          std::lock_guard lock(mutex);
          if (first.empty()) first = box.error().to_string();
          else box.error().ignore("one is enough");
        }
      }
    });
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(made, 64);
  EXPECT_EQ(failed, 0) << first;
}

TEST_F(Native, PassedDeadlineIsAnErrorAndLeavesNoSandbox) {
  auto kind = recipe();
  create(*kind);
  const auto before = sandbox::testing::Ledger::take();
  for (int i = 0; i < 5; ++i) {
    auto late = kind->create(core::SteadyClock::now() + std::chrono::microseconds(1));
    if (!late) { EXPECT_EQ(late.error().code(), ErrorCode::deadline_exceeded); }
  }
  create(*kind);
  EXPECT_TRUE(eventually([&] {
    // Those of before may include one that was only to be reaped.
    const auto now = sandbox::testing::Ledger::take().processes;
    return std::includes(before.processes.begin(), before.processes.end(), now.begin(), now.end());
  }));
}

TEST_F(Native, StatsPauseAndResume) {
  auto kind = recipe();
  auto box = create(*kind);
  auto stats = box->stats().value();
  EXPECT_GT(stats.memory.bytes(), 0u);
  EXPECT_EQ(stats.memory_limit, ByteCount::mib(512));
  EXPECT_EQ(stats.pids, 1u);
  EXPECT_GT(stats.cpu_time.count(), 0);
  EXPECT_EQ(stats.disk_used.bytes(), 0u);
  box->pause().value();
  const auto frozen = box->stats().value().cpu_time;
  std::this_thread::sleep_for(20ms);
  EXPECT_EQ(box->stats().value().cpu_time, frozen);
  box->resume().value();
  box->pause().value();
  box->destroy().value();  // paused ones die too
  auto gone = box->stats();
  ASSERT_FALSE(gone);
  gone.error().ignore("not_found or unavailable, as the launcher has seen its end or not");
}

TEST_F(Native, WritablePartIsSeenFromOutsideWithShiftedIds) {
  auto kind = recipe();
  auto box = create(*kind);
  auto writable = box->writable().value();
  struct stat info {};
  ASSERT_EQ(::fstatat(writable.directory.get(), "root", &info, 0), 0);
  EXPECT_EQ(info.st_uid, writable.first_id);
  EXPECT_GE(writable.first_id, 0x70000000u);
  auto other = create(*kind);
  const auto second = other->writable().value();
  EXPECT_GE(std::max(second.first_id, writable.first_id) - std::min(second.first_id, writable.first_id), 65536u);
}

TEST_F(Native, NobodyListensInsideAnEmptySandbox) {
  auto kind = recipe();
  auto box = create(*kind);
  EXPECT_FALSE(box->listening(8080).value());
  auto refused = box->connect(8080, in(1s));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), ErrorCode::unavailable);
}

// ---- steps that fail say so -------------------------------------------------------------------------------------------

std::string why_not(Result<std::shared_ptr<backend::Recipe>> result) {
  return result ? "prepared" : result.error().to_string();
}

TEST_F(Native, MissingWorkdirIsNamed) {
  auto kind = recipe(SandboxSpec().workdir("/no/such/place"));
  auto box = create_silent(*kind);
  auto failed = start(*box);
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().operation(), "native.workdir");
  EXPECT_EQ(failed.error().sys_errno(), ENOENT);
  EXPECT_THAT(failed.error().message(), HasSubstr("/no/such/place"));
}

TEST_F(Native, MoreOpenFilesThanTheHostGrantsIsNamed) {
  auto kind = recipe(SandboxSpec().limits(Limits().open_files(1u << 29)));
  auto box = create_silent(*kind);
  auto failed = start(*box);
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().operation(), "native.rlimit");
  EXPECT_THAT(failed.error().message(), HasSubstr("NOFILE"));
}

TEST_F(Native, FewOpenFilesBindProgramsAndNotTheAgent) {
  auto kind = recipe(SandboxSpec().limits(Limits().open_files(16)));
  auto made = kind->create(in(5s));
  ASSERT_TRUE(made) << made.error().to_string();
  const auto stream = (*made)->take_stream();
  auto hello = hello_of(stream.get());
  ASSERT_TRUE(hello) << hello.error().to_string();
}

TEST_F(Native, MissingImageIsNamed) {
  backend::ResolvedImage image;
  image.layers = {"/no/such/image"};
  EXPECT_THAT(why_not(backend_->prepare(SandboxSpec(), image)), ::testing::AllOf(HasSubstr("native.image"), HasSubstr("/no/such/image")));
}

TEST_F(Native, ImageWithoutMountPointsIsNamed) {
  char directory[] = "/tmp/sandbox-native-XXXXXX";
  ASSERT_NE(::mkdtemp(directory), nullptr);
  backend::ResolvedImage image;
  image.layers = {directory};
  EXPECT_THAT(why_not(backend_->prepare(SandboxSpec(), image)), HasSubstr("/dev"));
  std::filesystem::remove_all(directory);
}

TEST_F(Native, TooLittleMemoryToStartIsNamed) {
  auto kind = recipe(SandboxSpec().limits(Limits().pids(2).inodes(16)));
  EXPECT_TRUE(start(*create_silent(*kind)));  // that is still enough
  EXPECT_THAT(why_not(backend_->prepare(SandboxSpec().limits(Limits().memory(ByteCount(4096))), host_image())), HasSubstr("memory"));
}

TEST_F(Native, BadSpecsAreRefused) {
  EXPECT_THAT(why_not(backend_->prepare(SandboxSpec().hostname("a b"), host_image())), HasSubstr("hostname"));
  EXPECT_THAT(why_not(backend_->prepare(SandboxSpec().workdir("root"), host_image())), HasSubstr("workdir"));
  EXPECT_THAT(why_not(backend_->prepare(SandboxSpec().env("A=B", "c"), host_image())), HasSubstr("env"));
  EXPECT_THAT(why_not(backend_->prepare(SandboxSpec().limits(Limits().cpus(0)), host_image())), HasSubstr("cpus"));
  EXPECT_THAT(why_not(backend_->prepare(SandboxSpec().limits(Limits().pids(0)), host_image())), HasSubstr("pids"));
  EXPECT_THAT(why_not(backend_->prepare(SandboxSpec().limits(Limits().disk(ByteCount(0))), host_image())), HasSubstr("disk"));
}

TEST_F(Native, HelperThatOthersCouldChangeIsRefused) {
  char directory[] = "/tmp/sandbox-native-XXXXXX";
  ASSERT_NE(::mkdtemp(directory), nullptr);
  const std::filesystem::path bin = std::getenv("SANDBOX_BIN_DIR");
  for (const char* name : {"sandbox-launcher", "sandbox-agent"}) std::filesystem::copy_file(bin / name, std::filesystem::path(directory) / name);
  ASSERT_EQ(::chmod((std::string(directory) + "/sandbox-agent").c_str(), 0777), 0);
  native::NativeOptions options;
  options.helper_directory = directory;
  auto backend = native::make_backend(options);
  EXPECT_THAT(why_not(backend->prepare(SandboxSpec(), host_image())), HasSubstr("permission_denied"));
  std::filesystem::remove_all(directory);
}

}  // namespace

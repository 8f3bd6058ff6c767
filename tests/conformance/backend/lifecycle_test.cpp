#include <future>
#include <set>

#include "conformance.hpp"

namespace sandbox::testing {
namespace {

class Lifecycle : public Conformance {};

TEST_P(Lifecycle, IdsAreUniqueAndWellFormed) {
  Sandbox a = box(), b = box();
  EXPECT_NE(a.id(), b.id());
  EXPECT_EQ(a.id().size(), 12u);
  EXPECT_TRUE(a.id().starts_with("sbx-"));
}

TEST_P(Lifecycle, SandboxesDoNotSeeEachOther) {
  Sandbox a = box(), b = box();
  EXPECT_OK(a.fs().write("/root/secret", "1"));
  EXPECT_OK(a.fs().write("/tmp/secret", "1"));
  EXPECT_OK(a.fs().write("/dev/shm/secret", "1"));
  RunningProcess p = a.process().spawn(Command("sleep 30")).value();
  EXPECT_FALSE(b.fs().exists("/root/secret").value());
  EXPECT_FALSE(b.fs().exists("/tmp/secret").value());
  EXPECT_FALSE(b.fs().exists("/dev/shm/secret").value());
  EXPECT_EQ(b.process().exec("pgrep sleep | wc -l").value().stdout_text(), "0\n");
}

TEST_P(Lifecycle, UseAfterCloseIsAPreconditionError) {
  Sandbox b = box();
  Fs fs = b.fs();
  EXPECT_OK(b.close());
  EXPECT_OK(b.close());
  EXPECT_TRUE(b.closed());
  EXPECT_CODE(ErrorCode::failed_precondition, fs.read("/root/x"));
  EXPECT_CODE(ErrorCode::failed_precondition, b.process().exec("true"));
  EXPECT_CODE(ErrorCode::failed_precondition, b.ping());
  EXPECT_CODE(ErrorCode::failed_precondition, b.stats());
  EXPECT_CODE(ErrorCode::failed_precondition, b.pause());
}

TEST_P(Lifecycle, ClosingUnderARunningCommandEndsIt) {
  Sandbox b = box();
  auto running = std::async(std::launch::async, [&] { return b.process().exec("echo started > /root/s; sleep 60"); });
  while (!b.fs().exists("/root/s").value()) std::this_thread::yield();
  EXPECT_OK(b.close());
  const auto result = running.get();
  ASSERT_FALSE(result);
  EXPECT_TRUE(result.error().code() == ErrorCode::unavailable || result.error().code() == ErrorCode::failed_precondition ||
              result.error().code() == ErrorCode::cancelled) << result.error().to_string();
}

TEST_P(Lifecycle, PauseStopsAndResumeGoesOn) {
  Sandbox b = box();
  RunningProcess p = b.process().spawn(Command("while :; do echo x; sleep 0.01; done")).value();
  EXPECT_OK(p.read());
  EXPECT_OK(b.pause());
  EXPECT_CODE(ErrorCode::failed_precondition, b.process().exec("true"));
  EXPECT_OK(b.resume());
  EXPECT_TRUE(b.process().exec("true").value().ok());
  EXPECT_OK(p.read_for(10s));
  EXPECT_OK(p.kill());
}

TEST_P(Lifecycle, StatsAreCurrent) {
  Sandbox b = make(spec().limits(Limits().memory(256_MiB)));
  const SandboxStats before = b.stats().value();
  EXPECT_TRUE(b.process().exec("head -c 20000000 /dev/zero > /root/f; i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done").value().ok());
  const SandboxStats after = b.stats().value();
  EXPECT_GT(after.cpu_time, before.cpu_time);
  EXPECT_GE(after.memory.bytes(), before.memory.bytes() + 15000000);
  EXPECT_GE(after.disk_used.bytes(), 20000000u);
  EXPECT_EQ(after.memory_limit, 256_MiB);
  EXPECT_GE(after.pids, 1u);
  EXPECT_GT(after.uptime, before.uptime);
}

TEST_P(Lifecycle, MemoryLimitIsReportedAsSuch) {
  Sandbox b = make(spec().limits(Limits().memory(64_MiB)));
  const ExecResult r = b.process().exec(Command("python3").args("-c", "x = bytearray(200 << 20)").timeout(30s)).value();
  EXPECT_EQ(r.cause, ExitCause::out_of_memory);
  EXPECT_GE(r.oom_kills, 1u);
  EXPECT_TRUE(b.process().exec("echo alive").value().ok());
  EXPECT_GE(b.stats().value().oom_kills, 1u);
}

TEST_P(Lifecycle, PidLimitHoldsAForkBomb) {
  Sandbox b = make(spec().limits(Limits().pids(64)));
  const ExecResult r = b.process().exec(Command("f() { f | f & }; f; sleep 0.5").timeout(2s)).value();
  EXPECT_LE(b.stats().value().pids, 64u);
  (void)r;
  EXPECT_OK(b.ping());
  EXPECT_OK(b.close());
}

TEST_P(Lifecycle, EnvironmentIsKeptForLaterCommands) {
  Sandbox b = make(spec().env("FROM_SPEC", "1"));
  EXPECT_EQ(b.env().get("FROM_SPEC").value(), "1");
  EXPECT_OK(b.env().set("LATER", "two words"));
  EXPECT_EQ(b.process().exec("echo $LATER").value().stdout_text(), "two words\n");
  EXPECT_OK(b.env().unset("LATER"));
  EXPECT_EQ(b.env().get("LATER").value(), std::nullopt);
  EXPECT_CODE(ErrorCode::invalid_argument, b.env().set("A=B", "x"));
  EXPECT_CODE(ErrorCode::invalid_argument, b.env().set("", "x"));
  bool found = false;
  for (const auto& [key, value] : b.env().list().value()) found |= key == "PATH" && !value.empty();
  EXPECT_TRUE(found);
}

TEST_P(Lifecycle, UnknownImagesAreNamed) {
  const auto missing = runtime().create(spec().image(Image::directory("/no/such/rootfs")));
  EXPECT_CODE(ErrorCode::not_found, missing);
  EXPECT_NE(missing.error().message().find("/no/such/rootfs"), std::string::npos);
  EXPECT_CODE(ErrorCode::not_found, runtime().create(spec().image(Image::tar("/no/such.tar"))));
  EXPECT_CODE(ErrorCode::not_found, runtime().create(spec().image(Image::from_template("tpl-0000000000000000"))));
}

TEST_P(Lifecycle, ImpossibleLimitsAreRefused) {
  EXPECT_CODE(ErrorCode::invalid_argument, runtime().create(spec().limits(Limits().memory(ByteCount(0)))));
  EXPECT_CODE(ErrorCode::invalid_argument, runtime().create(spec().limits(Limits().pids(0))));
  EXPECT_CODE(ErrorCode::invalid_argument, runtime().create(spec().limits(Limits().cpus(0))));
}

TEST_P(Lifecycle, ATemplateCarriesEverythingWritable) {
  std::string id;
  {
    Sandbox b = box();
    EXPECT_OK(b.fs().write("/root/data", "kept"));
    EXPECT_OK(b.fs().symlink("data", "/root/link"));
    EXPECT_TRUE(b.process().exec("mkdir -p /root/d/e; chmod 0700 /root/d; echo t > /tmp/t; ln /root/data /root/hard").value().ok());
    const TemplateInfo info = b.save_template("test").value();
    id = info.id;
    EXPECT_TRUE(id.starts_with("tpl-"));
    EXPECT_EQ(info.label, "test");
    EXPECT_TRUE(b.process().exec("true").value().ok()) << "the sandbox goes on";
  }
  Sandbox from = make(spec().image(Image::from_template(id)));
  EXPECT_EQ(from.fs().read_text("/root/data").value(), "kept");
  EXPECT_EQ(from.fs().lstat("/root/link").value().target, "data");
  EXPECT_EQ(from.fs().stat("/root/d").value().mode & 0777, 0700u);
  EXPECT_EQ(from.fs().read_text("/tmp/t").value(), "t\n");
  EXPECT_OK(from.fs().write("/root/data", "changed"));
  Sandbox second = make(spec().image(Image::from_template(id)));
  EXPECT_EQ(second.fs().read_text("/root/data").value(), "kept") << "a template is never written to";
  EXPECT_OK(from.close());
  EXPECT_OK(second.close());
  EXPECT_EQ(runtime().find_template(id).value().id, id);
  EXPECT_OK(runtime().remove_template(id));
  EXPECT_CODE(ErrorCode::not_found, runtime().find_template(id));
  EXPECT_CODE(ErrorCode::not_found, runtime().remove_template(id));
}

SANDBOX_CONFORMANCE(Lifecycle)

}  // namespace
}  // namespace sandbox::testing

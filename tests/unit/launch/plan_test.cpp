#include "launch/plan.hpp"

#include <gtest/gtest.h>

#include "support/failure.hpp"

namespace {

using namespace sandbox;
using namespace sandbox::launch;

LaunchPlan good() {
  LaunchPlan plan;
  plan.recipe = 7;
  plan.tree.entries.push_back({EntryKind::bind, "usr", "/usr", 0});
  plan.tree.entries.push_back({EntryKind::directory, "etc/ssl", "", 0755});
  plan.tree.entries.push_back({EntryKind::file, "etc/passwd", "root:x:0:0::/root:/bin/sh\n", 0644});
  plan.tree.layers = {"/layers/a", "/layers/b"};
  plan.scratch_layer = "/templates/t";
  plan.writable_root = true;
  plan.hostname = "box-1";
  plan.workdir = "/root";
  plan.environment = {"PATH=/bin", "EMPTY="};
  plan.network = NetworkMode::bridge;
  plan.memory = 512ull << 20;
  plan.cpu_quota = 150000;
  plan.pids = 256;
  plan.open_files = 1024;
  plan.disk = 1ull << 30;
  plan.inodes = 65536;
  plan.filter = std::string(16, '\1');
  plan.allow_unenforced = true;
  return plan;
}

std::string why(LaunchPlan plan) {
  auto result = validate(plan);
  return result ? "" : result.error().message();
}

TEST(LaunchPlan, SurvivesTheWire) {
  const LaunchPlan plan = good();
  const std::string bytes = protocol::encode(plan);
  auto back = protocol::decode<LaunchPlan>(as_bytes(bytes));
  ASSERT_TRUE(back);
  EXPECT_EQ(protocol::encode(*back), bytes);
  EXPECT_EQ(back->tree.entries.size(), 3u);
  EXPECT_EQ(back->tree.entries[2].source, plan.tree.entries[2].source);
  EXPECT_EQ(back->network, NetworkMode::bridge);
  EXPECT_EQ(back->disk, plan.disk);
  EXPECT_TRUE(validate(*back));
}

TEST(LaunchPlan, EveryTruncationIsRefusedOrAnotherPlan) {
  const std::string bytes = protocol::encode(good());
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    auto cut = protocol::decode<LaunchPlan>(as_bytes(std::string_view(bytes).substr(0, size)));
    if (!cut) {
      EXPECT_EQ(cut.error().code(), ErrorCode::protocol);
      continue;
    }
    EXPECT_NE(protocol::encode(*cut), bytes);
  }
}

TEST(LaunchPlan, RefusesWhatCannotBeMeant) {
  const auto refused = [](auto change) {
    LaunchPlan plan = good();
    change(plan);
    return why(plan);
  };
  EXPECT_EQ(why(good()), "");
  EXPECT_NE(refused([](auto& p) { p.recipe = 0; }).find("recipe"), std::string::npos);
  EXPECT_NE(refused([](auto& p) { p.tree = {}; }).find("tree"), std::string::npos);
  EXPECT_NE(refused([](auto& p) { p.tree.layers.assign(kMaxLayers + 1, "/x"); }).find("layers"), std::string::npos);
  EXPECT_NE(refused([](auto& p) { p.tree.layers = {""}; }).find("layers"), std::string::npos);
  EXPECT_NE(refused([](auto& p) { p.tree.entries[0].source = "usr"; }).find("source"), std::string::npos);
  EXPECT_NE(refused([](auto& p) { p.tree.entries[0].path = "/usr"; }).find("path"), std::string::npos);
  EXPECT_NE(refused([](auto& p) { p.tree.entries[0].path = "a/../../b"; }).find("path"), std::string::npos);
  EXPECT_NE(refused([](auto& p) { p.tree.entries[0].kind = static_cast<EntryKind>(77); }).find("kind"), std::string::npos);
  EXPECT_NE(refused([](auto& p) { p.tree.entries[1].mode = 04755; }).find("mode"), std::string::npos);
  EXPECT_NE(refused([](auto& p) { p.tree.entries.push_back({EntryKind::symlink, "x", "", 0}); }).find("source"), std::string::npos);
  EXPECT_NE(refused([](auto& p) { p.scratch_layer = "t"; }).find("scratch"), std::string::npos);
  EXPECT_NE(refused([](auto& p) { p.pinned = {"/layers/t", "t"}; }).find("pinned"), std::string::npos);
  EXPECT_NE(refused([](auto& p) { p.pinned.assign(1000, "/layers/t"); }).find("pinned"), std::string::npos);
  EXPECT_NE(refused([](auto& p) { p.hostname = ""; }).find("hostname"), std::string::npos);
  EXPECT_NE(refused([](auto& p) { p.hostname = "a\nb"; }).find("hostname"), std::string::npos);
  EXPECT_NE(refused([](auto& p) { p.workdir = "root"; }).find("workdir"), std::string::npos);
  EXPECT_NE(refused([](auto& p) { p.workdir = std::string("/a\0b", 4); }).find("workdir"), std::string::npos);
  EXPECT_NE(refused([](auto& p) { p.environment = {"NOEQUALS"}; }).find("environment"), std::string::npos);
  EXPECT_NE(refused([](auto& p) { p.environment = {"A=" + std::string(kMaxEnvironment, 'x')}; }).find("environment"), std::string::npos);
  EXPECT_NE(refused([](auto& p) { p.network = static_cast<NetworkMode>(9); }).find("network"), std::string::npos);
  EXPECT_NE(refused([](auto& p) { p.memory = 4096; }).find("memory"), std::string::npos);
  EXPECT_NE(refused([](auto& p) { p.cpu_quota = 0; }).find("cpu"), std::string::npos);
  EXPECT_NE(refused([](auto& p) { p.pids = 1; }).find("pids"), std::string::npos);
  EXPECT_NE(refused([](auto& p) { p.open_files = 0; }).find("open_files"), std::string::npos);
  EXPECT_NE(refused([](auto& p) { p.disk = 0; }).find("disk"), std::string::npos);
  EXPECT_NE(refused([](auto& p) { p.inodes = 0; }).find("inodes"), std::string::npos);
  EXPECT_NE(refused([](auto& p) { p.filter.clear(); }).find("filter"), std::string::npos);
  EXPECT_NE(refused([](auto& p) { p.filter.resize(8 * (kMaxFilter + 1)); }).find("filter"), std::string::npos);
}

TEST(LaunchPlan, PlainRelativePaths) {
  for (const char* path : {"a", "a/b", "a/.b", "..a", "a../b"}) EXPECT_TRUE(is_plain_relative(path)) << path;
  for (const char* path : {"", "/", "/a", "a/", "a//b", ".", "..", "a/.", "a/../b", "./a"}) EXPECT_FALSE(is_plain_relative(path)) << path;
  EXPECT_FALSE(is_plain_relative(std::string("a\0b", 3)));
  EXPECT_FALSE(is_plain_relative(std::string(protocol::kMaxPath + 1, 'a')));
}

TEST(LaunchReply, CarriesAnErrorWhole) {
  const Reply sent = failure(5, Error::from_errno(EPERM, "native.mount", "/proc"));
  auto back = protocol::decode<Reply>(as_bytes(protocol::encode(sent)));
  ASSERT_TRUE(back);
  EXPECT_EQ(back->number, 5u);
  const Error error = error_of(*back);
  EXPECT_EQ(error.code(), ErrorCode::permission_denied);
  EXPECT_EQ(error.operation(), "native.mount");
  EXPECT_EQ(error.sys_errno(), EPERM);
  EXPECT_EQ(error.message(), "/proc: Operation not permitted (EPERM)");
}

TEST(Persistence, MessagesSurviveTheWire) {
  Listed listed;
  listed.more = true;
  Adoptable& entry = listed.sandboxes.emplace_back();
  entry.id = 7;
  entry.record = std::string("\0record", 7);
  entry.frozen = entry.ended = true;
  entry.outcome.signal = 9;
  entry.outcome.oom_kills = 2;
  const std::string bytes = protocol::encode(listed);
  const auto back = protocol::decode<Listed>(as_bytes(bytes));
  ASSERT_TRUE(back);
  EXPECT_EQ(protocol::encode(*back), bytes);
  EXPECT_EQ(back->sandboxes.at(0).record, entry.record);
  EXPECT_EQ(back->sandboxes.at(0).outcome.signal, 9u);
}

TEST(Persistence, RefusesWhatIsOutOfBounds) {
  Persist persist;
  EXPECT_EQ(sandbox::testing::failure(validate(persist)), ErrorCode::invalid_argument);  // no path
  persist.path = "relative";
  EXPECT_EQ(sandbox::testing::failure(validate(persist)), ErrorCode::invalid_argument);
  persist.path = "/run/x.sock";
  EXPECT_TRUE(validate(persist));
  persist.orphan_ms = 0;
  EXPECT_EQ(sandbox::testing::failure(validate(persist)), ErrorCode::invalid_argument);
  persist.orphan_ms = kMaxOrphanMs + 1;
  EXPECT_EQ(sandbox::testing::failure(validate(persist)), ErrorCode::invalid_argument);

  Commit commit;
  commit.record = "r";
  EXPECT_EQ(sandbox::testing::failure(validate(commit)), ErrorCode::invalid_argument);  // no sandbox
  commit.id = 1;
  EXPECT_TRUE(validate(commit));
  commit.record.clear();
  EXPECT_EQ(sandbox::testing::failure(validate(commit)), ErrorCode::invalid_argument);
  commit.record.assign(kMaxRecord, 'x');
  EXPECT_TRUE(validate(commit));
  EXPECT_LT(protocol::encode(commit).size(), kMaxMessage);
  commit.record += 'x';
  EXPECT_EQ(sandbox::testing::failure(validate(commit)), ErrorCode::invalid_argument);
}

TEST(Persistence, AnotherBuildIsNamed) {
  const Error error = build_mismatch("sandbox-agent", "9.9.9+0");
  EXPECT_EQ(error.code(), ErrorCode::failed_precondition);
  EXPECT_NE(error.message().find("sandbox-agent is build 9.9.9+0"), std::string::npos);
  EXPECT_NE(error.message().find("reinstall"), std::string::npos);
}

}  // namespace

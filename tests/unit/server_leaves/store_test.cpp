#include "server/store.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sqlite3.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <thread>

using namespace sandbox;
using namespace sandbox::server;
using namespace std::chrono_literals;

namespace {

class StoreTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = ::testing::TempDir() + "store.XXXXXX";
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    directory_ = name;
    path_ = name + "/state.db";
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  std::unique_ptr<Store> open(StoreOptions options = {}) {
    auto store = Store::open(path_, std::move(options));
    EXPECT_TRUE(store) << store.error().to_string();
    return store ? *std::move(store) : nullptr;
  }
  ErrorCode open_error() {
    auto store = Store::open(path_);
    EXPECT_FALSE(store);
    return store ? ErrorCode::internal : store.error().code();
  }

  std::string directory_, path_;
};

StoredSandbox full() {
  StoredSandbox one;
  one.id = "sbx-00000001";
  one.identity = "ac'me";
  one.profile = "default";
  one.template_id = "tpl-1";
  one.image = "host";
  one.labels = {{"a", "1"}, {"\"q\"\n", "ü"}};
  one.ttl = 3600s;
  one.created = WallTime(1767225600s + 123ns);
  one.state = SandboxState::disconnected;
  one.disconnected_at = WallTime(1767225601s);
  one.expires_at = WallTime(1767229201s);
  one.memory = 1ull << 33;
  one.cpus = 0.25;
  one.tunnels = {{80, 10000}, {443, 10001}};
  one.extra = "{\"spec\":{}}";
  return one;
}

TEST_F(StoreTest, KeepsEverythingOverARestart) {
  StoredSandbox plain;
  plain.id = "sbx-00000002";
  StoredTemplate saved;
  saved.id = "tpl-1";
  saved.identity = "acme";
  saved.label = "base";
  saved.image = "byggflow-sandbox:tpl-1";
  saved.backend = "native";
  saved.size = 12345678;
  saved.created = WallTime(1767225600s);
  saved.last_used = WallTime(1767225700s);
  saved.profile = "default";
  saved.memory = 512u << 20;
  saved.cpus = 1;
  saved.extra = "{}";
  {
    auto store = open();
    store->put(full());
    store->put(plain);
    store->put(saved);
    store->set_meta("events", "10000");
  }
  auto store = open();
  EXPECT_EQ(store->sandboxes().value(), (std::vector<StoredSandbox>{full(), plain}));
  EXPECT_EQ(store->templates().value(), std::vector<StoredTemplate>{saved});
  EXPECT_EQ(store->meta("events").value(), "10000");
  EXPECT_EQ(store->meta("other").value(), std::nullopt);
  struct stat info {};
  ASSERT_EQ(::stat(path_.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
}

TEST_F(StoreTest, TheLastWordCounts) {
  auto store = open();
  StoredSandbox one = full();
  store->put(one);
  store->erase_sandbox(one.id);
  one.ttl = 5s;
  store->put(one);
  store->erase_template("tpl-none");
  EXPECT_TRUE(store->flush());
  EXPECT_EQ(store->sandboxes().value().at(0).ttl, 5s);
  store->erase_sandbox(one.id);
  EXPECT_TRUE(store->flush());
  EXPECT_TRUE(store->sandboxes().value().empty());
}

TEST_F(StoreTest, WhatWasFlushedSurvivesAKill) {
  const pid_t child = ::fork();
  if (child == 0) {
    auto store = Store::open(path_);
    for (int i = 0; i < 500; ++i) {
      StoredSandbox one = full();
      one.id = "sbx-" + std::to_string(i);
      (*store)->put(one);
    }
    if (!(*store)->flush()) ::_exit(1);
    for (int i = 0; i < 500; ++i) (*store)->erase_sandbox("sbx-none" + std::to_string(i));
    ::raise(SIGKILL);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
  auto store = open();
  EXPECT_EQ(store->sandboxes().value().size(), 500u);
}

TEST_F(StoreTest, PuttingDoesNotWaitForTheDisk) {
  auto store = open();
  sqlite3* other = nullptr;
  ASSERT_EQ(sqlite3_open(path_.c_str(), &other), SQLITE_OK);
  ASSERT_EQ(sqlite3_exec(other, "BEGIN IMMEDIATE", nullptr, nullptr, nullptr), SQLITE_OK);
  const auto before = std::chrono::steady_clock::now();
  for (int i = 0; i < 1000; ++i) store->put(full());
  EXPECT_LT(std::chrono::steady_clock::now() - before, 1s) << "nothing can be written, yet nobody waits";
  ASSERT_EQ(sqlite3_exec(other, "COMMIT", nullptr, nullptr, nullptr), SQLITE_OK);
  sqlite3_close(other);
  EXPECT_TRUE(store->flush());
  EXPECT_EQ(store->sandboxes().value().size(), 1u);
}

TEST_F(StoreTest, AWriteThatFailsIsToldAndTriedAgain) {
  std::atomic<int> failures{0};
  StoreOptions options;
  options.busy_timeout = 1ms;
  options.on_error = [&](const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::unavailable);
    ++failures;
  };
  auto store = open(std::move(options));
  sqlite3* other = nullptr;
  ASSERT_EQ(sqlite3_open(path_.c_str(), &other), SQLITE_OK);
  ASSERT_EQ(sqlite3_exec(other, "BEGIN IMMEDIATE", nullptr, nullptr, nullptr), SQLITE_OK);
  store->put(full());
  auto flushed = store->flush();
  ASSERT_FALSE(flushed);
  EXPECT_EQ(flushed.error().code(), ErrorCode::unavailable);
  EXPECT_GE(failures, 1);
  StoredSandbox newer = full();
  newer.ttl = 9s;
  store->put(newer);  // meanwhile
  ASSERT_EQ(sqlite3_exec(other, "COMMIT", nullptr, nullptr, nullptr), SQLITE_OK);
  sqlite3_close(other);
  while (!store->flush()) std::this_thread::yield();  // an attempt from before the commit may still fail
  EXPECT_EQ(store->sandboxes().value().at(0).ttl, 9s) << "the failed batch must not overwrite what came later";
}

TEST_F(StoreTest, OnlyOneDaemonHasIt) {
  auto store = open();
  EXPECT_EQ(open_error(), ErrorCode::already_exists);
  store.reset();
  EXPECT_TRUE(open());
}

TEST_F(StoreTest, WhatIsNotOursIsRefused) {
  std::ofstream(path_) << "some text that is not a database at all";
  EXPECT_EQ(open_error(), ErrorCode::corrupt);
  std::filesystem::remove(path_);
  sqlite3* other = nullptr;
  ASSERT_EQ(sqlite3_open(path_.c_str(), &other), SQLITE_OK);
  ASSERT_EQ(sqlite3_exec(other, "CREATE TABLE t(a)", nullptr, nullptr, nullptr), SQLITE_OK);
  sqlite3_close(other);
  EXPECT_EQ(open_error(), ErrorCode::failed_precondition);
  std::filesystem::remove(path_);
  { auto store = open(); }
  ASSERT_EQ(sqlite3_open(path_.c_str(), &other), SQLITE_OK);
  ASSERT_EQ(sqlite3_exec(other, "PRAGMA user_version = 99", nullptr, nullptr, nullptr), SQLITE_OK);
  sqlite3_close(other);
  EXPECT_EQ(open_error(), ErrorCode::failed_precondition) << "of a newer version";
}

TEST_F(StoreTest, DamageIsFoundAtTheStart) {
  {
    auto store = open();
    for (int i = 0; i < 200; ++i) {
      StoredSandbox one = full();
      one.id = "sbx-" + std::to_string(i);
      store->put(one);
    }
  }
  std::fstream file(path_, std::ios::in | std::ios::out | std::ios::binary);
  const auto size = std::filesystem::file_size(path_);
  ASSERT_GT(size, 16384u);
  file.seekp(4096);
  file << std::string(size - 4096, '\x55');
  file.close();
  EXPECT_EQ(open_error(), ErrorCode::corrupt);
  EXPECT_TRUE(std::filesystem::exists(path_)) << "never thrown away";
}

TEST_F(StoreTest, ARecordThatCannotBeReadIsLeftOutAndTold) {
  { auto store = open(); store->put(full()); }
  sqlite3* other = nullptr;
  ASSERT_EQ(sqlite3_open(path_.c_str(), &other), SQLITE_OK);
  ASSERT_EQ(sqlite3_exec(other, "INSERT INTO sandboxes SELECT 'sbx-bad',identity,profile,template,image,'[1',ttl,created,state,"
                                "disconnected_at,expires_at,memory,cpus,tunnels,extra FROM sandboxes", nullptr, nullptr, nullptr), SQLITE_OK);
  sqlite3_close(other);
  std::atomic<int> told{0};
  StoreOptions options;
  options.on_error = [&](const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::corrupt);
    ++told;
  };
  auto store = open(std::move(options));
  EXPECT_EQ(store->sandboxes().value().size(), 1u);
  EXPECT_EQ(told, 1);
}

TEST_F(StoreTest, ManyThreadsMayPut) {
  auto store = open();
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 200; ++i) {
        StoredSandbox one = full();
        one.id = "sbx-" + std::to_string(t) + "-" + std::to_string(i);
        store->put(one);
        if (i % 50 == 0) {
          EXPECT_TRUE(store->flush());
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_TRUE(store->flush());
  EXPECT_EQ(store->sandboxes().value().size(), 800u);
}

}  // namespace

#pragma once

#include <gtest/gtest.h>

#include <condition_variable>
#include <cstdlib>
#include <filesystem>
#include <mutex>
#include <vector>

#include "runtime/runtime_state.hpp"
#include "unit/runtime/test_backend.hpp"

namespace sandbox::runtime::testing {

using namespace std::chrono_literals;

/// A runtime over the scripted backend, with its events collected.
class RuntimeTest : public ::testing::Test {
 protected:
  void SetUp() override {
    char path[] = "/tmp/sandbox-runtime-test-XXXXXX";
    ASSERT_NE(::mkdtemp(path), nullptr);
    directory_ = path;
  }
  void TearDown() override {
    if (state_) {
      EXPECT_TRUE(state_->close());
    }
    EXPECT_EQ(script_->alive(), 0) << "a closed runtime leaves nothing";
    state_.reset();
    std::filesystem::remove_all(directory_);
  }

  RuntimeOptions options() {
    return RuntimeOptions().state_directory(directory_ + "/state").on_event([this](const RuntimeEvent& event) {
      std::lock_guard lock(mutex_);
      events_.push_back(event);
      changed_.notify_all();
    });
  }
  void open(RuntimeOptions options) {
    std::vector<std::unique_ptr<backend::Backend>> backends;
    backends.push_back(std::make_unique<TestBackend>(script_));
    auto opened = RuntimeState::open_with(std::move(options), std::move(backends));
    ASSERT_TRUE(opened) << opened.error().to_string();
    state_ = *std::move(opened);
  }
  /// Waits until `count` events of `kind` have come.
  bool wait_for(RuntimeEvent::Kind kind, int count = 1) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, 10s, [&] {
      return std::count_if(events_.begin(), events_.end(), [&](const RuntimeEvent& e) { return e.kind == kind; }) >= count;
    });
  }
  RuntimeEvent last(RuntimeEvent::Kind kind) {
    std::lock_guard lock(mutex_);
    for (auto it = events_.rbegin(); it != events_.rend(); ++it)
      if (it->kind == kind) return *it;
    return {};
  }
  std::shared_ptr<driver::Box> create(const SandboxSpec& spec = SandboxSpec(), CreateOptions options = CreateOptions()) {
    auto box = state_->create(spec, options);
    EXPECT_TRUE(box) << box.error().to_string();
    return box ? *box : nullptr;
  }
  core::TimePoint soon() const { return core::SteadyClock::now() + 10s; }

  std::shared_ptr<Script> script_ = std::make_shared<Script>();
  std::string directory_;
  std::shared_ptr<RuntimeState> state_;

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<RuntimeEvent> events_;
};

}  // namespace sandbox::runtime::testing

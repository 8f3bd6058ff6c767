#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>

#include <sandbox/runtime.hpp>
#include <sandbox/sandbox.hpp>

#include "support/state_directory.hpp"

/// A real runtime on the real kernel for tests, with a state directory of its own that is removed at the end.
namespace sandbox::testing {

/// One runtime for a whole test program; closed by TearDownTestSuite of LiveTest.
class LiveTest : public ::testing::Test {
 public:
  static void SetUpTestSuite() {
    state_ = std::make_unique<StateDirectory>();
    auto opened = Runtime::open(RuntimeOptions().state_directory(state_->path()));
    if (opened) {
      runtime_ = std::make_unique<Runtime>(*std::move(opened));
    } else {
      why_ = opened.error().to_string();
    }
  }
  static void TearDownTestSuite() {
    if (runtime_) {
      const auto closed = runtime_->close();
      EXPECT_TRUE(closed) << closed.error().to_string();
    }
    runtime_.reset();
    state_.reset();
  }
  void SetUp() override { ASSERT_TRUE(runtime_) << why_; }

  static Runtime& runtime() { return *runtime_; }
  static const std::string& state_path() { return state_->path(); }
  static Sandbox make(const SandboxSpec& spec = SandboxSpec()) { return runtime().create(spec).value(); }

 private:
  inline static std::unique_ptr<StateDirectory> state_;
  inline static std::unique_ptr<Runtime> runtime_;
  inline static std::string why_;
};

/// Prints the error when a Result has none of the value wanted.
#define EXPECT_OK(...)                                              \
  do {                                                              \
    const auto& expect_ok_ = (__VA_ARGS__);                         \
    EXPECT_TRUE(expect_ok_.has_value()) << #__VA_ARGS__ << ": " << (expect_ok_ ? "" : expect_ok_.error().to_string()); \
  } while (false)
#define EXPECT_CODE(wanted, ...)                                                              \
  do {                                                                                        \
    const auto& expect_code_ = (__VA_ARGS__);                                                 \
    EXPECT_FALSE(expect_code_.has_value()) << #__VA_ARGS__ << " succeeded";                   \
    if (!expect_code_) {                                                                       \
      EXPECT_EQ(name(expect_code_.error().code()), name(wanted)) << expect_code_.error().to_string(); \
    }                                                                                         \
  } while (false)

}  // namespace sandbox::testing

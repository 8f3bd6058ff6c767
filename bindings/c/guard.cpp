#include "guard.hpp"

#include <pthread.h>

#include <atomic>
#include <string>

#include "core/text.hpp"

sbx_error::sbx_error(sandbox::Error failure)
    : error(std::move(failure)), message(sandbox::core::escape_control(error.message())), text(error.to_string()) {}

namespace sandbox::c {
namespace {

std::atomic<bool> is_stranded{false};

}  // namespace

void before_first_use() {
  static const int registered = ::pthread_atfork(nullptr, nullptr, [] { is_stranded.store(true, std::memory_order_relaxed); });
  static_cast<void>(registered);  // fails only without memory, which the next step will tell
}

bool stranded() noexcept { return is_stranded.load(std::memory_order_relaxed); }

Result<void> check_process() {
  if (!stranded()) return {};
  return Error(ErrorCode::failed_precondition,
               "this process was forked from one that uses the library, whose threads it has not: start a program of its own "
               "(exec, posix_spawn), or fork before the first runtime, client or queue is opened")
      .with_operation("process.forked");
}

Error bad_argument(std::string_view argument, std::string_view why) {
  return Error(ErrorCode::invalid_argument, std::string(argument) + " " + std::string(why)).with_detail("argument", std::string(argument));
}

sbx_code fail(sbx_error** err, Error error) noexcept {
  const auto code = static_cast<sbx_code>(error.code());
  if (!err) {
    error.ignore("the caller wants the code only");
    return code;
  }
  try {
    *err = new sbx_error(std::move(error));
  } catch (...) {  // no memory for its texts
    *err = nullptr;
  }
  return code;
}

Error error_of_exception() {
  try {
    throw;
  } catch (const Exception& exception) {
    return exception.error();
  } catch (const std::bad_alloc&) {
    return Error(ErrorCode::resource_exhausted, "out of memory");
  } catch (const std::exception& exception) {
    return Error(ErrorCode::internal, std::string("an exception: ") + exception.what());
  } catch (...) {
    return Error(ErrorCode::internal, "an unknown exception");
  }
}

}  // namespace sandbox::c

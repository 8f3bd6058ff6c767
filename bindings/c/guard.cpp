#include "guard.hpp"

#include <string>

#include "core/text.hpp"

sbx_error::sbx_error(sandbox::Error failure)
    : error(std::move(failure)), message(sandbox::core::escape_control(error.message())), text(error.to_string()) {}

namespace sandbox::c {

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

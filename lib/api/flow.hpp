#pragma once

#include <string>

#include <sandbox/fs.hpp>

#include "api/operation.hpp"

/// Content of any size through a stream, with bounded memory. Sources and sinks are the user's code: they run on the
/// calling thread, outside the link's lock.
namespace sandbox::api {

/// Sends what `source` yields on channel `in` of a `method` stream. Returns the encoded result.
/// While the source fills one buffer, the previous one is on its way. Memory: one buffer and the session's queue.
Result<std::string> send_content(driver::Box& box, protocol::Method method, std::string params, const ByteSource& source);

/// Gives what arrives on channel `out` of a `method` stream to `sink`. Returns the encoded result.
/// Memory: two windows of the session.
Result<std::string> receive_content(driver::Box& box, protocol::Method method, std::string params, const ByteSink& sink);

}  // namespace sandbox::api

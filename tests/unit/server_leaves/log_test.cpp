#include "server/log.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <set>

using namespace sandbox;
using namespace sandbox::server;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::StartsWith;

namespace {

/// What `use` logs; the log is destroyed, and so written, before it is read.
template <class Use>
std::string logged(LogLevel level, Log::Format format, Use&& use) {
  std::array<int, 2> ends{};
  EXPECT_EQ(::pipe(ends.data()), 0);
  {
    Log log(level, format, ends[1]);
    use(log);
  }
  ::close(ends[1]);
  std::string all(65536, '\0');
  std::size_t size = 0;
  for (ssize_t count = 1; count > 0; size += static_cast<std::size_t>(std::max<ssize_t>(count, 0))) {
    count = ::read(ends[0], all.data() + size, all.size() - size);
  }
  ::close(ends[0]);
  all.resize(size);
  return all;
}

TEST(Log, WritesJsonLines) {
  const std::string text = logged(LogLevel::info, Log::Format::json, [](Log& log) {
    log.debug("hidden");
    log.warning("it \"happened\"", {{"request_id", "ab"}, {"status", 503u}, {"ok", false}, {"took", 0.5}});
  });
  EXPECT_THAT(text, StartsWith("{\"time\":\"20"));
  EXPECT_THAT(text, EndsWith(R"(Z","level":"warning","msg":"it \"happened\"","request_id":"ab","status":503,"ok":false,"took":0.5})" "\n"));
}

TEST(Log, HostileTextCannotForgeALine) {
  const std::string hostile = "x\n{\"level\":\"error\"}\x1b[2J \xff y=1";
  for (const auto format : {Log::Format::json, Log::Format::text}) {
    const std::string text = logged(LogLevel::debug, format, [&](Log& log) { log.info(hostile, {{"k", hostile}}); });
    EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 1) << text;
    EXPECT_EQ(text.find('\x1b'), text.npos);
  }
}

TEST(Log, TextIsForPeople) {
  const std::string text = logged(LogLevel::info, Log::Format::text, [](Log& log) { log.error("no", {{"id", "a b"}, {"n", 3}}); });
  EXPECT_THAT(text, EndsWith(" error no id=\"a b\" n=3\n"));
}

TEST(Log, TakesWhatTheRuntimeSaysAndChangesItsLevelLive) {
  const std::string text = logged(LogLevel::error, Log::Format::json, [](Log& log) {
    const LogCallback callback = log.callback();
    callback(LogLevel::info, "one");
    log.set_level(LogLevel::debug);
    callback(LogLevel::debug, "two");
  });
  EXPECT_THAT(text, HasSubstr("\"msg\":\"two\",\"component\":\"runtime\""));
  EXPECT_EQ(text.find("\"one\""), text.npos);
}

TEST(RequestId, IsNotSeenTwice) {
  std::set<std::string> seen;
  for (int i = 0; i < 10000; ++i) {
    const std::string id = new_request_id();
    EXPECT_EQ(id.size(), 16u);
    EXPECT_TRUE(seen.insert(id).second);
  }
}

}  // namespace

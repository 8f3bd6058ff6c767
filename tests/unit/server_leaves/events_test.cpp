#include "server/events.hpp"

#include <gtest/gtest.h>

using namespace sandbox;
using namespace sandbox::server;

namespace {

const std::chrono::system_clock::time_point kTime(std::chrono::seconds(1767225600));

std::uint64_t add(EventLog& log, std::string_view identity = "", std::string_view id = "sbx-1") {
  return log.publish("sandbox.created", id, identity, "", kTime);
}

std::size_t count(const std::string& text, std::string_view part) {
  std::size_t found = 0;
  for (std::size_t at = text.find(part); at != text.npos; at = text.find(part, at + 1)) ++found;
  return found;
}

TEST(EventHistory, IsOldestFirstInTheFormOfTheSpecification) {
  EventLog log;
  log.publish("sandbox.created", "sbx-1", "acme", R"({"method":"warm"})", kTime);
  log.publish("sandbox.destroyed", "sbx-1", "", "", kTime);
  EXPECT_EQ(log.history(0, 1000, ""),
            R"({"complete":true,"events":[{"id":1,"type":"sandbox.created","sandbox_id":"sbx-1","identity":"acme",)"
            R"("timestamp":"2026-01-01T00:00:00Z","data":{"method":"warm"}},{"id":2,"type":"sandbox.destroyed",)"
            R"("sandbox_id":"sbx-1","timestamp":"2026-01-01T00:00:00Z"}],"seq":2})");
  EXPECT_EQ(EventLog().history(0, 10, ""), R"({"complete":true,"events":[],"seq":0})");
}

TEST(EventHistory, SaysWhenEventsWereDropped) {
  EventLog log(0, 3);
  for (int i = 0; i < 5; ++i) add(log);
  EXPECT_EQ(log.history(1, 10, "").find(R"({"complete":false,"events":[{"id":3)"), 0u);
  EXPECT_EQ(log.history(2, 10, "").find(R"({"complete":true,"events":[{"id":3)"), 0u);
  EXPECT_EQ(log.history(5, 10, ""), R"({"complete":true,"events":[],"seq":5})");
  EXPECT_EQ(log.history(99, 10, ""), R"({"complete":false,"events":[],"seq":5})");
}

TEST(EventHistory, GoesOnAfterARestart) {
  EventLog log(7000);
  EXPECT_EQ(log.history(0, 10, ""), R"({"complete":false,"events":[],"seq":7000})");
  EXPECT_EQ(log.history(7000, 10, ""), R"({"complete":true,"events":[],"seq":7000})");
  EXPECT_EQ(add(log), 7001u);
}

TEST(EventHistory, ShowsATenantOnlyItsOwn) {
  EventLog log;
  add(log, "a");
  add(log, "b");
  add(log, "a");
  EXPECT_EQ(count(log.history(0, 10, "a"), "\"id\""), 2u);
  EXPECT_EQ(count(log.history(0, 1, "a"), "\"id\""), 1u);
  EXPECT_EQ(count(log.history(0, 10, ""), "\"id\""), 3u);
}

TEST(EventSubscription, WakesOnceUntilEverythingIsTaken) {
  EventLog log;
  add(log);
  int woken = 0;
  auto reader = log.subscribe("", std::nullopt, [&] { ++woken; });
  ASSERT_TRUE(reader);
  EXPECT_EQ(reader->take(), "") << "what was before does not count";
  add(log);
  add(log);
  EXPECT_EQ(woken, 1);
  const std::string text = reader->take();
  EXPECT_EQ(text.find("id: 2\ndata: {\"id\":2,"), 0u);
  EXPECT_EQ(count(text, "\n\n"), 2u);
  EXPECT_EQ(count(text, "event:"), 0u);
  EXPECT_EQ(reader->take(), "");
  add(log);
  EXPECT_EQ(woken, 2);
}

TEST(EventSubscription, ReplaysWithoutDuplicates) {
  EventLog log;
  for (int i = 0; i < 4; ++i) add(log);
  auto reader = log.subscribe("", 2, [] {});
  add(log);
  const std::string text = reader->take();
  EXPECT_EQ(text.find("id: 3\n"), 0u);
  EXPECT_EQ(count(text, "id: "), 3u);
  EXPECT_EQ(reader->take(), "");
}

TEST(EventSubscription, After0IsFromTheFirst) {
  EventLog log;
  add(log);
  add(log);
  auto reader = log.subscribe("", 0, [] {});
  const std::string text = reader->take();
  EXPECT_EQ(text.find("id: 1\n"), 0u);
  EXPECT_EQ(count(text, "id: "), 2u);

  EventLog restarted(2);
  auto later = restarted.subscribe("", 0, [] {});
  EXPECT_EQ(later->take().find("event: events.gap\ndata: {\"after_id\":0,"), 0u);
}

TEST(EventSubscription, ASlowReaderIsToldWhatItMissed) {
  EventLog log(0, 4);
  auto reader = log.subscribe("", std::nullopt, [] {});
  EXPECT_EQ(reader->take(), "");
  for (int i = 0; i < 10; ++i) add(log);
  const std::string text = reader->take();
  EXPECT_EQ(text.find("event: events.gap\ndata: {\"after_id\":0,\"message\":\"some events were lost\"}\n\nid: 7\n"), 0u);
  EXPECT_EQ(count(text, "\nid: ") , 4u);
}

TEST(EventSubscription, AnIdOfAnotherLifeIsAGap) {
  EventLog log;
  add(log);
  auto reader = log.subscribe("", 500, [] {});
  EXPECT_EQ(reader->take(), "event: events.gap\ndata: {\"after_id\":500,\"message\":\"some events were lost\"}\n\n");
  add(log);
  EXPECT_EQ(reader->take().find("id: 2\n"), 0u);
}

TEST(EventSubscription, TakesInPieces) {
  EventLog log;
  auto reader = log.subscribe("", std::nullopt, [] {});
  EXPECT_EQ(reader->take(), "");
  for (int i = 0; i < 10; ++i) add(log);
  std::size_t seen = 0, pieces = 0;
  for (std::string text = reader->take(200); !text.empty(); text = reader->take(200), ++pieces) {
    EXPECT_LT(text.size(), 500u);
    seen += count(text, "data: ");
  }
  EXPECT_EQ(seen, 10u);
  EXPECT_GT(pieces, 3u);
}

TEST(EventSubscription, OnlyItsTenantIsWoken) {
  EventLog log;
  int woken = 0;
  auto reader = log.subscribe("a", std::nullopt, [&] { ++woken; });
  EXPECT_EQ(reader->take(), "");
  add(log, "b");
  EXPECT_EQ(woken, 0);
  add(log, "a");
  EXPECT_EQ(woken, 1);
  EXPECT_EQ(count(reader->take(), "data: "), 1u);
}

TEST(EventSubscription, ThereAreAHundred) {
  EventLog log;
  std::vector<std::unique_ptr<EventLog::Subscription>> readers;
  for (std::size_t i = 0; i < EventLog::kMaxSubscribers; ++i) readers.push_back(log.subscribe("", std::nullopt, [] {}));
  EXPECT_TRUE(readers.back());
  EXPECT_FALSE(log.subscribe("", std::nullopt, [] {}));
  readers.pop_back();
  EXPECT_TRUE(log.subscribe("", std::nullopt, [] {}));
}

TEST(HistoryQuery, ReadsLeadingNumbers) {
  EXPECT_EQ(read_history_query(std::nullopt, std::nullopt)->after, 0u);
  EXPECT_EQ(read_history_query(std::nullopt, std::nullopt)->limit, 1000u);
  EXPECT_EQ(read_history_query("12abc", "5")->after, 12u);
  EXPECT_EQ(read_history_query("12", "99999")->limit, 10000u);
  const auto text = [](auto result) { return result ? std::string() : result.error().message(); };
  EXPECT_EQ(text(read_history_query("abc", std::nullopt)), "invalid 'after' parameter — must be a numeric event ID");
  EXPECT_EQ(text(read_history_query("0", "0")), "invalid 'limit' parameter");
  EXPECT_EQ(text(read_history_query("0", "-3")), "invalid 'limit' parameter");
  EXPECT_EQ(text(read_history_query("99999999999999999999", std::nullopt)), "invalid 'after' parameter — must be a numeric event ID");
}

}  // namespace

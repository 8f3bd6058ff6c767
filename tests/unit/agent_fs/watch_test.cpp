#include "unit/agent_fs/harness.hpp"

#include <algorithm>

#include "agent/fs_support.hpp"

namespace sandbox::agent::testing {
namespace {

using protocol::FsEvent;
using EventKind = protocol::FsEventKind;
using protocol::FileType;

class AgentWatch : public AgentFs {
 protected:
  std::unique_ptr<Call> watch(std::string path, bool recursive = true) {
    auto call = agent.open(Method::fs_watch, protocol::FsWatchRequest{std::move(path), recursive});
    agent.wait_until([&] { return !call->messages.empty() || call->end; });
    if (!call->end) {
      const auto events = call->events();
      EXPECT_EQ(events.size(), 1u);
      EXPECT_EQ(events[0].kind, EventKind::ready);
    }
    call->messages.clear();
    return call;
  }
  /// Waits for an event that fits.
  FsEvent expect(Call& call, EventKind kind, const std::string& path) {
    FsEvent found;
    EXPECT_TRUE(agent.wait_until([&] {
      for (auto& event : call.events()) {
        if (event.kind == kind && event.path == path) {
          found = event;
          return true;
        }
      }
      return false;
    }, nullptr, std::chrono::seconds(20))) << "kind " << int(kind) << " of " << path;
    return found;
  }
  static long count(Call& call, EventKind kind, const std::string& path) {
    const auto events = call.events();
    return std::count_if(events.begin(), events.end(), [&](const FsEvent& e) { return e.kind == kind && e.path == path; });
  }
};

TEST_F(AgentWatch, TellsWhatHappensToFiles) {
  auto call = watch(dir.path());
  spit(dir / "f", "x");
  expect(*call, EventKind::created, dir / "f");
  expect(*call, EventKind::modified, dir / "f");
  ::chmod((dir / "f").c_str(), 0600);
  expect(*call, EventKind::attributes, dir / "f");
  fs::rename(dir / "f", dir / "g\n\xff");
  EXPECT_EQ(expect(*call, EventKind::renamed, dir / "g\n\xff").old_path, dir / "f");
  fs::remove(dir / "g\n\xff");
  expect(*call, EventKind::removed, dir / "g\n\xff");
  fs::create_directory(dir / "d");
  EXPECT_EQ(expect(*call, EventKind::created, dir / "d").type, FileType::directory);
  agent.client().cancel(call->stream);
  agent.wait(*call);
  EXPECT_EQ(call->code(), ErrorCode::cancelled);
}

TEST_F(AgentWatch, SeesEverythingInNewDirectoriesOnce) {
  auto call = watch(dir.path());
  for (int round = 0; round < 20; ++round) {
    const auto base = dir / ("r" + std::to_string(round));
    fs::create_directories(base + "/a/b");
    for (int i = 0; i < 20; ++i) spit(base + "/a/b/f" + std::to_string(i), "");
    agent.turn();
    for (int i = 20; i < 40; ++i) spit(base + "/a/b/f" + std::to_string(i), "");
  }
  spit(dir / "last", "");
  expect(*call, EventKind::created, dir / "last");
  for (int round = 0; round < 20; ++round) {
    const auto base = dir / ("r" + std::to_string(round));
    for (int i = 0; i < 40; ++i) {
      const auto path = base + "/a/b/f" + std::to_string(i);
      expect(*call, EventKind::created, path);
      if (HasFailure()) return;
      EXPECT_EQ(count(*call, EventKind::created, path), 1) << path;
    }
  }
}

TEST_F(AgentWatch, FollowsRenamedAndMovedDirectories) {
  fs::create_directories(dir / "in/a/b");
  fs::create_directories(dir / "away");
  auto call = watch(dir / "in");
  fs::rename(dir / "in/a", dir / "in/z");
  EXPECT_EQ(expect(*call, EventKind::renamed, dir / "in/z").old_path, dir / "in/a");
  spit(dir / "in/z/b/f", "");
  expect(*call, EventKind::created, dir / "in/z/b/f");
  fs::rename(dir / "in/z", dir / "away/z");
  expect(*call, EventKind::removed, dir / "in/z");
  spit(dir / "away/z/b/unseen", "");
  fs::rename(dir / "away/z", dir / "in/back");
  expect(*call, EventKind::created, dir / "in/back");
  expect(*call, EventKind::created, dir / "in/back/b/f");
  spit(dir / "in/back/b/new", "");
  expect(*call, EventKind::created, dir / "in/back/b/new");
  for (const auto& event : call->events()) EXPECT_EQ(event.path.find("away"), std::string::npos) << event.path;
}

/// "created f, modified g": each event, in order, paths below `dir`.
std::string told(const Call& call, const std::string& dir) {
  static constexpr const char* kNames[] = {"none", "created", "modified", "removed", "renamed", "attributes", "overflow", "ready"};
  std::string all;
  for (const auto& event : call.events()) {
    if (!all.empty()) all += ", ";
    all += kNames[static_cast<std::size_t>(event.kind)];
    all += ' ' + (event.path.size() > dir.size() ? event.path.substr(dir.size() + 1) : event.path);
  }
  return all;
}

TEST_F(AgentWatch, ShowsAWrittenFileUnderItsOwnNameOnly) {
  spit(dir / "f", "old");
  auto call = watch(dir.path());
  ASSERT_TRUE(agent.write(dir / "f", "new")->ok());
  ASSERT_TRUE(agent.write(dir / "g", "new")->ok());
  // With a hole at the end, so that the copy is also cut to size while it has no name.
  ASSERT_EQ(::truncate((dir / "g").c_str(), 100'000), 0);
  ASSERT_TRUE(agent.run(Method::fs_copy, protocol::FsPairRequest{dir / "g", dir / "copy"})->ok());
  ASSERT_TRUE(agent.run(Method::fs_chmod, protocol::FsChmodRequest{dir / "copy", 0600})->ok());
  expect(*call, EventKind::attributes, dir / "copy");
  EXPECT_EQ(told(*call, dir.path()), "modified f, created g, modified g, created copy, attributes copy");
}

TEST_F(AgentWatch, FilesWithNamesLikeUnnamedOnesAreShown) {
  auto call = watch(dir.path());
  spit(dir / "#12", "x");
  ::chmod((dir / "#12").c_str(), 0600);
  expect(*call, EventKind::attributes, dir / "#12");
  EXPECT_EQ(told(*call, dir.path()), "created #12, modified #12, attributes #12");
}

TEST_F(AgentWatch, ShowsTheOwnNameOnlyWhereFilesCannotBeUnnamed) {
  spit(dir / "old", "old");
  auto call = watch(dir.path());
  const core::UniqueFd directory(::open(dir.path().c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  for (const char* name : {"new", "old"}) {
    auto file = NewFile::create_named("test", directory.get(), name);
    ASSERT_TRUE(file);
    ASSERT_EQ(::write(file->fd(), "1", 1), 1);
    ASSERT_TRUE(file->commit("test", name, name, 0644, false));
  }
  auto refused = NewFile::create_named("test", directory.get(), "new");
  ASSERT_TRUE(refused);
  EXPECT_EQ(refused->commit("test", "new", "new", 0644, true).error().code(), ErrorCode::already_exists);
  auto exclusive = NewFile::create_named("test", directory.get(), "alone");
  ASSERT_TRUE(exclusive);
  ASSERT_TRUE(exclusive->commit("test", "alone", "alone", 0644, true));
  expect(*call, EventKind::created, dir / "alone");
  EXPECT_EQ(told(*call, dir.path()), "created new, modified old, created alone");
  refused->discard();
  EXPECT_EQ(std::distance(fs::directory_iterator(dir.path()), {}), 3) << "a temporary name is left";
}

TEST_F(AgentWatch, ShowsNothingOfATreeThatIsBeingRemoved) {
  // Deeper than a removal holds open: it moves the lower part up, under a name of its own.
  std::string path = dir / "tree";
  for (int i = 0; i < 120; ++i) path += "/d";
  fs::create_directories(path);
  for (int i = 0; i < 10; ++i) spit(path + "/f" + std::to_string(i), "");
  auto all = watch(dir.path());
  auto top = watch(dir / "tree", false);
  ASSERT_TRUE(agent.run(Method::fs_remove, protocol::FsRemoveRequest{dir / "tree", true})->ok());
  expect(*all, EventKind::removed, dir / "tree");
  agent.wait(*top);
  for (auto* call : {all.get(), top.get()}) {
    for (const auto& event : call->events()) {
      EXPECT_EQ(event.path.find(".sbx-"), std::string::npos) << event.path;
      EXPECT_EQ(event.old_path.find(".sbx-"), std::string::npos) << event.old_path;
      EXPECT_EQ(event.kind, EventKind::removed) << event.path;
    }
  }
  EXPECT_EQ(count(*all, EventKind::removed, path), 0) << "its way up was moved: it is gone with that";
}

TEST_F(AgentWatch, TellsAllOfManyEventsWithLongPaths) {
  // A few hundred of them are more than one message holds.
  std::string base = dir.path();
  while (base.size() + 210 < protocol::kMaxPath) base += '/' + std::string(200, 'd');
  fs::create_directories(base);
  spit(base + "/a0", "");
  auto call = watch(base);
  constexpr int kRenames = 300;
  for (int i = 0; i < kRenames; ++i) fs::rename(base + "/a" + std::to_string(i), base + "/a" + std::to_string(i + 1));
  expect(*call, EventKind::renamed, base + "/a" + std::to_string(kRenames));
  int told = 0;
  for (const auto& event : call->events()) {
    if (event.kind != EventKind::renamed) continue;
    EXPECT_EQ(event.path, base + "/a" + std::to_string(++told));
  }
  EXPECT_EQ(told, kRenames);
}

TEST_F(AgentWatch, NotRecursiveStaysInOneDirectory) {
  fs::create_directory(dir / "sub");
  auto call = watch(dir.path(), false);
  spit(dir / "sub/unseen", "");
  fs::create_directory(dir / "new");
  spit(dir / "new/unseen", "");
  spit(dir / "seen", "");
  expect(*call, EventKind::created, dir / "seen");
  for (const auto& event : call->events()) EXPECT_EQ(event.path.find("unseen"), std::string::npos) << event.path;
}

TEST_F(AgentWatch, OverflowIsReported) {
  auto call = watch(dir.path());
  // Beyond fs.inotify.max_queued_events (16384 by default) while the agent does not run.
  std::ifstream limit("/proc/sys/fs/inotify/max_queued_events");
  int events = 16384;
  limit >> events;
  if (events > 100'000) GTEST_SKIP() << "the queue is too long to fill";
  for (int i = 0; i < events; ++i) {
    const auto path = dir / ("f" + std::to_string(i % 100));
    const core::UniqueFd made(::open(path.c_str(), O_CREAT | O_WRONLY, 0600));
    ::unlink(path.c_str());
  }
  expect(*call, EventKind::overflow, dir.path());
  spit(dir / "after", "");
  expect(*call, EventKind::created, dir / "after");
}

TEST_F(AgentWatch, WatchesASingleFileAndEndsWithIt) {
  spit(dir / "f", "");
  auto call = watch(dir / "f");
  spit(dir / "f", "x");
  expect(*call, EventKind::modified, dir / "f");
  fs::remove(dir / "f");
  agent.wait(*call);
  EXPECT_EQ(call->code(), ErrorCode::not_found);
  EXPECT_EQ(count(*call, EventKind::removed, dir / "f"), 1);
  EXPECT_EQ(watch(dir / "none")->code(), ErrorCode::not_found);
}

TEST_F(AgentWatch, AReaderThatStopsIsNotPiledUpFor) {
  auto call = watch(dir.path());
  for (int round = 0; round < 50; ++round) {
    for (int i = 0; i < 200; ++i) spit(dir / ("some-file-with-a-long-name-" + std::string(150, 'x') + std::to_string(i)), "x");
    agent.turn(false);
  }
  for (int i = 0; i < 100; ++i) agent.turn(false);
  spit(dir / "last", "");
  EXPECT_TRUE(agent.wait_until([&] {
    const auto events = call->events();
    return std::any_of(events.begin(), events.end(), [&](const FsEvent& e) { return e.kind == EventKind::overflow || e.path == dir / "last"; });
  }));
}

}  // namespace
}  // namespace sandbox::agent::testing

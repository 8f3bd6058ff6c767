#include "unit/agent_fs/harness.hpp"

#include <sys/resource.h>
#include <sys/un.h>

#include <numeric>

namespace sandbox::agent::testing {
namespace {

using protocol::FsReadRequest;
using protocol::FsReadResult;
using protocol::FsWriteRequest;
using protocol::FsWriteResult;

std::string pattern(std::size_t size) {
  std::string bytes(size, '\0');
  for (std::size_t i = 0; i < size; ++i) bytes[i] = static_cast<char>((i * 2654435761u) >> 13);
  return bytes;
}

TEST_F(AgentFs, WriteThenReadGivesTheSameBytes) {
  for (const std::size_t size : {0u, 1u, 4096u, 300'000u, 5'000'000u}) {
    const auto content = pattern(size);
    const auto path = dir / "f";
    auto wrote = agent.write(path, content);
    ASSERT_TRUE(wrote->ok()) << wrote->end->message;
    EXPECT_EQ(wrote->result<FsWriteResult>().size, size);
    auto read = agent.read(path);
    ASSERT_TRUE(read->ok());
    EXPECT_EQ(read->result<FsReadResult>().size, size);
    EXPECT_TRUE(read->out == content) << size;
  }
  EXPECT_EQ(names(dir.path()), std::vector<std::string>{"f"});
}

TEST_F(AgentFs, ReadTakesOffsetAndLength) {
  spit(dir / "f", "0123456789");
  const auto part = [&](std::uint64_t offset, std::optional<std::uint64_t> length) {
    auto call = agent.run(Method::fs_read, FsReadRequest{dir / "f", offset, length});
    EXPECT_TRUE(call->ok());
    return call->out;
  };
  EXPECT_EQ(part(3, 4), "3456");
  EXPECT_EQ(part(3, {}), "3456789");
  EXPECT_EQ(part(3, 0), "");
  EXPECT_EQ(part(8, 100), "89");
  EXPECT_EQ(part(10, {}), "");
  EXPECT_EQ(part(1ull << 40, {}), "");
  EXPECT_EQ(agent.run(Method::fs_read, FsReadRequest{dir / "f", ~0ull, {}})->code(), ErrorCode::invalid_argument);
}

TEST_F(AgentFs, NamesAreBytes) {
  for (const std::string name : {"new\nline", "\xff\xfe invalid", "sp ace", "\x01", "..."}) {
    ASSERT_TRUE(agent.write(dir / name, name)->ok());
    EXPECT_EQ(agent.read(dir / name)->out, name);
  }
  EXPECT_EQ(names(dir.path()).size(), 5u);
}

TEST_F(AgentFs, BadPathsAreRefused) {
  for (const std::string& path : {std::string(), std::string("relative"), std::string("/a\0b", 4), "/" + std::string(4095, 'a'), std::string("../x")}) {
    EXPECT_EQ(agent.read(path)->code(), ErrorCode::invalid_argument) << path;
    EXPECT_EQ(agent.write(path, "x")->code(), ErrorCode::invalid_argument) << path;
    EXPECT_EQ(agent.remove(path, true, true)->code(), ErrorCode::invalid_argument) << path;
    EXPECT_EQ(agent.tar_in(path, "")->code(), ErrorCode::invalid_argument) << path;
    EXPECT_EQ(agent.tar_out(path)->code(), ErrorCode::invalid_argument) << path;
    EXPECT_EQ(agent.copy(path, dir / "x")->code(), ErrorCode::invalid_argument) << path;
    EXPECT_EQ(agent.copy(dir.path(), path, true)->code(), ErrorCode::invalid_argument) << path;
  }
  auto missing = agent.read(dir / "missing");
  EXPECT_EQ(missing->code(), ErrorCode::not_found);
  EXPECT_EQ(missing->end->operation, "fs.read");
  EXPECT_EQ(missing->end->sys_errno, ENOENT);
  EXPECT_EQ(agent.write(dir / "no/such", "x")->code(), ErrorCode::not_found);
  EXPECT_EQ(agent.write(dir / (std::string(300, 'n')), "x")->code(), ErrorCode::invalid_argument);
}

TEST_F(AgentFs, MalformedParametersAreRefused) {
  auto call = std::make_unique<Call>();
  call->session = &agent.client();
  call->stream = agent.client().open(Method::fs_read, "\x0a\xff", call.get());
  agent.wait(*call);
  EXPECT_FALSE(call->ok());
}

TEST_F(AgentFs, OnlyRegularFilesAreOpened) {
  const auto fifo = dir / "fifo", socket = dir / "socket", directory = dir / "directory";
  ASSERT_EQ(::mkfifo(fifo.c_str(), 0600), 0);
  ASSERT_EQ(::mkdir(directory.c_str(), 0700), 0);
  core::UniqueFd listener(::socket(AF_UNIX, SOCK_STREAM, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  ASSERT_LT(socket.size(), sizeof address.sun_path);
  socket.copy(address.sun_path, socket.size());
  ASSERT_EQ(::bind(listener.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  for (const std::string& path : {fifo, socket, directory, std::string("/dev/null"), std::string("/dev/zero")}) {
    const auto start = std::chrono::steady_clock::now();
    EXPECT_EQ(agent.read(path)->code(), ErrorCode::invalid_argument) << path;
    EXPECT_EQ(agent.write(path, "x")->code(), ErrorCode::invalid_argument) << path;
    FsWriteRequest append;
    append.path = path;
    append.append = true;
    EXPECT_EQ(agent.run(Method::fs_write, append, "x")->code(), ErrorCode::invalid_argument) << path;
    EXPECT_EQ(agent.copy(path, dir / "copied")->code(), ErrorCode::invalid_argument) << path;
    spit(dir / "source", "x");
    EXPECT_EQ(agent.copy(dir / "source", path)->code(), ErrorCode::invalid_argument) << path;
    if (path != directory) {
      EXPECT_EQ(agent.tar_out(path)->code(), ErrorCode::invalid_argument) << path;
    }
    EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(5));
  }
  EXPECT_EQ(names(dir.path()), (std::vector<std::string>{"directory", "fifo", "socket", "source"}));
}

TEST_F(AgentFs, ReplacingIsAtomicAndLeavesNothingBehindWhenCancelled) {
  const auto path = dir / "f";
  spit(path, "old");
  auto call = agent.open(Method::fs_write, FsWriteRequest{path, false, false, false, 0});
  const auto part = pattern(100'000);
  ASSERT_TRUE(agent.wait_until([&] { return agent.client().writable(call->stream, session::Channel::in) >= part.size(); }));
  ASSERT_EQ(agent.client().send(call->stream, session::Channel::in, as_bytes(part)), part.size());
  for (int i = 0; i < 20; ++i) agent.turn();
  EXPECT_EQ(slurp(path), "old");
  agent.client().cancel(call->stream);
  agent.wait(*call);
  EXPECT_EQ(call->code(), ErrorCode::cancelled);
  EXPECT_EQ(slurp(path), "old");
  EXPECT_EQ(names(dir.path()), std::vector<std::string>{"f"});
}

TEST(AgentFsLoss, AnUnfinishedWriteLeavesNothingBehind) {
  TemporaryDirectory dir;
  std::unique_ptr<Call> call;
  {
    Harness agent;
    call = agent.open(Method::fs_write, FsWriteRequest{dir / "f", false, false, false, 0});
    ASSERT_TRUE(agent.wait_until([&] { return agent.client().writable(call->stream, session::Channel::in) >= 4; }));
    ASSERT_EQ(agent.client().send(call->stream, session::Channel::in, as_bytes("half")), 4u);
    for (int i = 0; i < 20; ++i) agent.turn();
  }
  EXPECT_TRUE(fs::is_empty(dir.path()));
}

TEST_F(AgentFs, ModesAreKeptOrSet) {
  const auto path = dir / "f";
  ASSERT_TRUE(agent.write(path, "x")->ok());
  EXPECT_EQ(mode_of(path), 0644u);
  ASSERT_TRUE(agent.run(Method::fs_write, FsWriteRequest{path, false, false, false, 0751}, "y")->ok());
  EXPECT_EQ(mode_of(path), 0751u);
  ASSERT_TRUE(agent.write(path, "z")->ok());
  EXPECT_EQ(mode_of(path), 0751u);
  ASSERT_EQ(::chmod(path.c_str(), 04755), 0);
  ASSERT_TRUE(agent.write(path, "z")->ok());
  EXPECT_EQ(mode_of(path), 0755u) << "setuid must not survive a replacement of the content";
}

TEST_F(AgentFs, ExclusiveAppendAndParents) {
  const auto path = dir / "a/b/c/f";
  EXPECT_EQ(agent.write(path, "x")->code(), ErrorCode::not_found);
  FsWriteRequest request{path, false, true, true, 0};
  ASSERT_TRUE(agent.run(Method::fs_write, request, "x")->ok());
  EXPECT_EQ(agent.run(Method::fs_write, request, "y")->code(), ErrorCode::already_exists);
  EXPECT_EQ(slurp(path), "x");
  request.exclusive = false;
  request.append = true;
  ASSERT_TRUE(agent.run(Method::fs_write, request, "y")->ok());
  EXPECT_EQ(slurp(path), "xy");
  request.path = dir / "a/new";
  ASSERT_TRUE(agent.run(Method::fs_write, request, "n")->ok());
  EXPECT_EQ(slurp(dir / "a/new"), "n");
  request.exclusive = true;
  EXPECT_EQ(agent.run(Method::fs_write, request, "n")->code(), ErrorCode::already_exists);
  EXPECT_EQ(names(dir / "a"), (std::vector<std::string>{"b", "new"}));
  // Something that appears while an exclusive write is under way wins.
  auto call = agent.open(Method::fs_write, FsWriteRequest{dir / "race", false, true, false, 0});
  for (int i = 0; i < 3; ++i) agent.turn();
  spit(dir / "race", "winner");
  agent.client().send(call->stream, session::Channel::in, as_bytes("loser"), true);
  agent.wait(*call);
  EXPECT_EQ(call->code(), ErrorCode::already_exists);
  EXPECT_EQ(slurp(dir / "race"), "winner");
  EXPECT_EQ(names(dir.path()), (std::vector<std::string>{"a", "race"}));
}

TEST_F(AgentFs, SymlinksAreWrittenThrough) {
  spit(dir / "real", "old");
  fs::create_symlink("real", dir / "link");
  fs::create_symlink(dir / "link", dir / "chain");
  ASSERT_TRUE(agent.write(dir / "chain", "new")->ok());
  EXPECT_EQ(slurp(dir / "real"), "new");
  EXPECT_TRUE(fs::is_symlink(dir / "link"));
  EXPECT_TRUE(fs::is_symlink(dir / "chain"));
  fs::create_symlink("made", dir / "dangling");
  ASSERT_TRUE(agent.write(dir / "dangling", "made")->ok());
  EXPECT_EQ(slurp(dir / "made"), "made");
  fs::create_symlink("loop", dir / "loop");
  EXPECT_EQ(agent.write(dir / "loop", "x")->code(), ErrorCode::invalid_argument);
  EXPECT_EQ(agent.read(dir / "loop")->code(), ErrorCode::invalid_argument);
}

TEST_F(AgentFs, AFullDiskIsReportedAndThePartRemoved) {
  // RLIMIT_FSIZE stands in for a quota: write(2) fails in the middle of the file.
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  rlimit small{1 << 20, before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  auto call = agent.write(dir / "big", pattern(3 << 20));
  auto copied = [&] {
    ::setrlimit(RLIMIT_FSIZE, &before);
    spit(dir / "source", pattern(3 << 20));
    ::setrlimit(RLIMIT_FSIZE, &small);
    return agent.copy(dir / "source", dir / "copy");
  }();
  ::setrlimit(RLIMIT_FSIZE, &before);
  EXPECT_EQ(call->code(), ErrorCode::resource_exhausted);
  EXPECT_EQ(call->end->sys_errno, EFBIG);
  EXPECT_EQ(copied->code(), ErrorCode::resource_exhausted);
  EXPECT_EQ(names(dir.path()), std::vector<std::string>{"source"});
}

TEST_F(AgentFs, ASparseFileOfGigabytesStreamsInBoundedMemory) {
  const auto path = dir / "sparse";
  constexpr std::uint64_t kSize = 2ull << 30;
  spit(path, "");
  ASSERT_EQ(::truncate(path.c_str(), kSize), 0);
  rusage before{}, after{};
  ::getrusage(RUSAGE_SELF, &before);
  auto call = agent.open(Method::fs_read, FsReadRequest{path, 0, {}});
  call->keep = false;
  agent.wait(*call);
  ::getrusage(RUSAGE_SELF, &after);
  ASSERT_TRUE(call->ok());
  EXPECT_EQ(call->out_size, kSize);
  EXPECT_LT(after.ru_maxrss - before.ru_maxrss, 64 << 10) << "KiB";
}

TEST_F(AgentFs, AReaderThatStopsHoldsNobodyUp) {
  spit(dir / "big", pattern(8 << 20));
  spit(dir / "small", "s");
  auto slow = agent.open(Method::fs_read, FsReadRequest{dir / "big", 0, {}});
  slow->hold = true;
  for (int i = 0; i < 50; ++i) agent.turn();
  EXPECT_FALSE(slow->end);
  EXPECT_LE(slow->out_size, 1u << 20) << "no more than the credit";
  EXPECT_EQ(agent.read(dir / "small")->out, "s");
  slow->hold = false;
  agent.client().consumed(slow->stream, session::Channel::out, slow->held);
  agent.wait(*slow);
  EXPECT_TRUE(slow->out == pattern(8 << 20));
}

TEST_F(AgentFs, ReadingCanBeCancelled) {
  spit(dir / "big", pattern(8 << 20));
  auto call = agent.open(Method::fs_read, FsReadRequest{dir / "big", 0, {}});
  call->hold = true;
  for (int i = 0; i < 20; ++i) agent.turn();
  call->hold = false;
  agent.client().cancel(call->stream);
  agent.client().consumed(call->stream, session::Channel::out, call->held);
  agent.wait(*call);
  EXPECT_EQ(call->code(), ErrorCode::cancelled);
  EXPECT_LT(call->out_size, 8u << 20);
}

TEST_F(AgentFs, AFileThatShrinksWhileItIsReadEndsEarly) {
  spit(dir / "f", pattern(8 << 20));
  auto call = agent.open(Method::fs_read, FsReadRequest{dir / "f", 0, {}});
  call->hold = true;
  for (int i = 0; i < 20; ++i) agent.turn();
  ASSERT_EQ(::truncate((dir / "f").c_str(), 10), 0);
  call->hold = false;
  agent.client().consumed(call->stream, session::Channel::out, call->held);
  agent.wait(*call);
  EXPECT_TRUE(call->ok());
  EXPECT_EQ(call->result<FsReadResult>().size, call->out_size);
}

}  // namespace
}  // namespace sandbox::agent::testing

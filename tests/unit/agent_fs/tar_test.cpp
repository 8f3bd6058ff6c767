#include "unit/agent_fs/harness.hpp"

#include <atomic>
#include <thread>

#include "tarstream/reader.hpp"
#include "tarstream/writer.hpp"

namespace sandbox::agent::testing {
namespace {

using protocol::FsTarResult;
using tarstream::Kind;
using tarstream::Member;

/// An archive being made, member by member, however hostile.
class Archive {
 public:
  Archive& add(Member member, std::string_view content = {}) {
    member.size = content.size();
    bytes_ += tarstream::encode_header(member);
    bytes_ += content;
    bytes_.append(tarstream::padding(content.size()), '\0');
    return *this;
  }
  Archive& file(std::string name, std::string_view content, std::uint32_t mode = 0644) {
    return add({.name = std::move(name), .kind = Kind::file, .mode = mode, .modified_ns = 1'600'000'000'250'000'000}, content);
  }
  Archive& directory(std::string name, std::uint32_t mode = 0755) {
    return add({.name = std::move(name), .kind = Kind::directory, .mode = mode, .modified_ns = 1'500'000'000'000'000'000});
  }
  Archive& link(Kind kind, std::string name, std::string target) {
    return add({.name = std::move(name), .link = std::move(target), .kind = kind, .mode = 0777});
  }
  Archive& special(Kind kind, std::string name) { return add({.name = std::move(name), .kind = kind, .mode = 0600, .major = 1, .minor = 3}); }
  std::string take() const { return bytes_ + std::string(tarstream::kTrailer, '\0'); }
  const std::string& bytes() const { return bytes_; }

 private:
  std::string bytes_;
};

/// An agent, a target directory, and beside it one that must never be touched.
class AgentTar : public AgentFs {
 protected:
  AgentTar() {
    fs::create_directory(outside());
    spit(outside() + "/secret", "untouched");
    fs::create_directory(target());
  }
  std::string target() const { return dir / "target"; }
  std::string outside() const { return dir / "outside"; }
  void expect_untouched() {
    EXPECT_EQ(names(dir.path()), (std::vector<std::string>{"outside", "target"}));
    EXPECT_EQ(names(outside()), std::vector<std::string>{"secret"});
    EXPECT_EQ(slurp(outside() + "/secret"), "untouched");
    EXPECT_EQ(fs::hard_link_count(outside() + "/secret"), 1u);
    EXPECT_EQ(mode_of(outside()), 0755u);
  }
};

TEST_F(AgentTar, ExtractsFilesDirectoriesAndLinks) {
  const auto tar = Archive()
                       .directory("d", 0555)
                       .file("d/f", "content", 0640)
                       .link(Kind::symlink, "d/s", "../anywhere")
                       .link(Kind::hardlink, "h", "d/f")
                       .file("implied/parents/f", std::string(100'000, 'x'))
                       .file("empty", "")
                       .take();
  for (const std::size_t piece : {std::size_t{1} << 20, std::size_t{777}}) {
    auto call = agent.tar_in(target(), tar, piece);
    ASSERT_TRUE(call->ok()) << call->end->message;
    const auto result = call->result<FsTarResult>();
    EXPECT_EQ(result.entries, 6u);
    EXPECT_EQ(result.bytes, 100'007u);
    EXPECT_TRUE(result.skipped.empty());
    EXPECT_EQ(slurp(target() + "/d/f"), "content");
    EXPECT_EQ(mode_of(target() + "/d/f"), 0640u);
    EXPECT_EQ(mode_of(target() + "/d"), 0555u);
    EXPECT_EQ(fs::read_symlink(target() + "/d/s"), "../anywhere");
    EXPECT_EQ(fs::hard_link_count(target() + "/h"), 2u);
    EXPECT_EQ(fs::file_size(target() + "/implied/parents/f"), 100'000u);
    EXPECT_EQ(fs::file_size(target() + "/empty"), 0u);
    struct stat info{};
    ASSERT_EQ(::stat((target() + "/d/f").c_str(), &info), 0);
    EXPECT_EQ(info.st_mtim.tv_sec, 1'600'000'000);
    EXPECT_EQ(info.st_mtim.tv_nsec, 250'000'000);
    ASSERT_EQ(::stat((target() + "/d").c_str(), &info), 0);
    EXPECT_EQ(info.st_mtim.tv_sec, 1'500'000'000);
    expect_untouched();
    ::chmod((target() + "/d").c_str(), 0755);
  }
}

TEST_F(AgentTar, AMissingTargetIsCreated) {
  ASSERT_TRUE(agent.tar_in(target() + "/a/b", Archive().file("f", "x").take())->ok());
  EXPECT_EQ(slurp(target() + "/a/b/f"), "x");
}

TEST_F(AgentTar, DotDotIsRefused) {
  for (const std::string name : {"../outside/f", "a/../../outside/f", "..", "a/..", "./../outside/f", "/../outside/f"}) {
    auto call = agent.tar_in(target(), Archive().file(name, "evil").take());
    EXPECT_EQ(call->code(), ErrorCode::invalid_argument) << name;
    EXPECT_EQ(call->end->operation, "fs.tar_in");
    EXPECT_EQ(agent.tar_in(target(), Archive().directory(name, 0777).take())->code(), ErrorCode::invalid_argument) << name;
    EXPECT_EQ(agent.tar_in(target(), Archive().link(Kind::hardlink, "h", name).take())->code(), ErrorCode::invalid_argument) << name;
  }
  expect_untouched();
}

TEST_F(AgentTar, AbsoluteNamesStayBelowTheTarget) {
  const auto evil = outside() + "/f";
  auto call = agent.tar_in(target(), Archive().file(evil, "x").file("//etc///passwd", "y").take());
  ASSERT_TRUE(call->ok()) << call->end->message;
  EXPECT_EQ(slurp(target() + evil), "x");
  EXPECT_EQ(slurp(target() + "/etc/passwd"), "y");
  expect_untouched();
  // The same for what a hardlink names.
  EXPECT_FALSE(agent.tar_in(target(), Archive().link(Kind::hardlink, "h", outside() + "/secret").take())->ok());
  expect_untouched();
}

TEST_F(AgentTar, NothingIsWrittenThroughSymlinks) {
  // Into a directory behind a symlink, one made by the archive or one that was there.
  EXPECT_FALSE(agent.tar_in(target(), Archive().link(Kind::symlink, "l", outside()).file("l/f", "evil").take())->ok());
  EXPECT_FALSE(agent.tar_in(target(), Archive().link(Kind::symlink, "r", "../outside").file("r/f", "evil").take())->ok());
  EXPECT_FALSE(agent.tar_in(target(), Archive().link(Kind::symlink, "m", "l").file("m/x/f", "evil").take())->ok());
  EXPECT_FALSE(agent.tar_in(target(), Archive().directory("l", 0777).take())->ok());
  EXPECT_FALSE(agent.tar_in(target(), Archive().directory("l/new", 0777).take())->ok());
  EXPECT_FALSE(agent.tar_in(target(), Archive().link(Kind::symlink, "l/new", "x").take())->ok());
  expect_untouched();
  // Onto a symlink: replaced, not followed.
  ASSERT_TRUE(agent.tar_in(target(), Archive().link(Kind::symlink, "f", outside() + "/secret").file("f", "mine").take())->ok());
  EXPECT_EQ(slurp(target() + "/f"), "mine");
  EXPECT_FALSE(fs::is_symlink(target() + "/f"));
  expect_untouched();
}

TEST_F(AgentTar, HardlinksReachOnlyBelowTheTarget) {
  EXPECT_FALSE(agent.tar_in(target(), Archive().link(Kind::symlink, "l", outside()).link(Kind::hardlink, "h", "l/secret").take())->ok());
  EXPECT_FALSE(agent.tar_in(target(), Archive().link(Kind::hardlink, "h", "missing").take())->ok());
  // A hardlink to a symlink is a symlink; writing to that name later replaces it.
  ASSERT_TRUE(agent.tar_in(target(), Archive().link(Kind::symlink, "s", outside() + "/secret").link(Kind::hardlink, "h2", "s").file("h2", "mine").take())->ok());
  EXPECT_EQ(slurp(target() + "/h2"), "mine");
  // A link to itself must not lose the file.
  ASSERT_TRUE(agent.tar_in(target(), Archive().file("self", "kept").link(Kind::hardlink, "self", "self").take())->ok());
  EXPECT_EQ(slurp(target() + "/self"), "kept");
  // A file that was hardlinked before is replaced, not written into.
  ASSERT_TRUE(agent.tar_in(target(), Archive().file("a", "1").link(Kind::hardlink, "b", "a").file("b", "2").take())->ok());
  EXPECT_EQ(slurp(target() + "/a"), "1");
  EXPECT_EQ(slurp(target() + "/b"), "2");
  expect_untouched();
}

TEST_F(AgentTar, DevicesAndFifosAreSkippedAndNamed) {
  auto call = agent.tar_in(target(), Archive().special(Kind::character, "null").special(Kind::block, "sda").special(Kind::fifo, "fifo").file("f", "x").take());
  ASSERT_TRUE(call->ok());
  EXPECT_EQ(call->result<FsTarResult>().skipped, (std::vector<std::string>{"null", "sda", "fifo"}));
  EXPECT_EQ(names(target()), std::vector<std::string>{"f"});
}

TEST_F(AgentTar, SetuidIsNotTakenOver) {
  ASSERT_TRUE(agent.tar_in(target(), Archive().file("f", "x", 06755).directory("d", 01777).take())->ok());
  EXPECT_EQ(mode_of(target() + "/f"), 0755u);
  EXPECT_EQ(mode_of(target() + "/d"), 01777u);
}

TEST_F(AgentTar, CorruptAndTruncatedStreamsAreRefusedAndLeaveNoPart) {
  const auto good = Archive().file("f", std::string(5000, 'x')).take();
  auto bad = good;
  bad[3] = 'Z';
  EXPECT_EQ(agent.tar_in(target(), bad)->code(), ErrorCode::corrupt);
  EXPECT_EQ(agent.tar_in(target(), good.substr(0, 3000))->code(), ErrorCode::corrupt);
  EXPECT_EQ(agent.tar_in(target(), good.substr(0, 100))->code(), ErrorCode::corrupt);
  EXPECT_EQ(agent.tar_in(target(), std::string(2000, 'g'))->code(), ErrorCode::corrupt);
  EXPECT_TRUE(names(target()).empty());
  // A size beyond everything: the stream ends long before.
  Member huge{.name = "huge", .kind = Kind::file, .size = 1ull << 62, .mode = 0644};
  EXPECT_EQ(agent.tar_in(target(), tarstream::encode_header(huge) + "start")->code(), ErrorCode::corrupt);
  EXPECT_TRUE(names(target()).empty());
  EXPECT_TRUE(agent.tar_in(target(), "")->ok()) << "an empty stream is an empty archive";
  EXPECT_TRUE(agent.tar_in(target(), good.substr(0, good.size() - 1024))->ok()) << "the end marker is optional";
}

TEST_F(AgentTar, NamesThatCannotBeAreRefused) {
  EXPECT_FALSE(agent.tar_in(target(), Archive().file(std::string(300, 'n'), "x").take())->ok());
  EXPECT_FALSE(agent.tar_in(target(), Archive().file(std::string(2500, 'a').replace(1, 1, "/") + "/" + std::string(2500, 'b'), "x").take())->ok());
  EXPECT_FALSE(agent.tar_in(target(), Archive().file(".", "x").take())->ok());
  EXPECT_TRUE(agent.tar_in(target(), Archive().directory("./", 0700).take())->ok());
  EXPECT_EQ(mode_of(target()), 0755u);
}

TEST_F(AgentTar, ACancelledExtractionRemovesThePart) {
  auto call = agent.open(Method::fs_tar_in, protocol::FsTarRequest{target()});
  Member member{.name = "f", .kind = Kind::file, .size = 1 << 20, .mode = 0644};
  ASSERT_TRUE(agent.wait_until([&] { return agent.client().writable(call->stream, session::Channel::in) > 4096; }));
  const auto part = tarstream::encode_header(member) + "start";
  ASSERT_EQ(agent.client().send(call->stream, session::Channel::in, as_bytes(part)), part.size());
  ASSERT_TRUE(agent.wait_until([&] { return !names(target()).empty(); }));
  EXPECT_EQ(names(target()), std::vector<std::string>{"f"});
  agent.client().cancel(call->stream);
  agent.wait(*call);
  EXPECT_EQ(call->code(), ErrorCode::cancelled);
  EXPECT_TRUE(names(target()).empty());
}

TEST_F(AgentTar, ManySmallMembersInOneFrameTakeTurns) {
  Archive archive;
  for (int i = 0; i < 3000; ++i) archive.file("f" + std::to_string(i), "content");
  auto call = agent.tar_in(target(), archive.take());
  ASSERT_TRUE(call->ok()) << call->end->message;
  EXPECT_EQ(names(target()).size(), 3000u);
}

TEST_F(AgentTar, RoundTripsEveryName) {
  const auto source = dir / "target/source";
  fs::create_directory(source);
  std::string deep = source;
  for (int i = 0; i < 4; ++i) {
    deep += "/" + std::string(120, static_cast<char>('a' + i));
    fs::create_directory(deep);
  }
  spit(deep + "/file", "deep");                                // > 255 bytes
  spit(source + "/" + std::string(150, 'n'), "long name");     // > 100, cannot be split
  spit(source + "/" + std::string(100, 'e'), "exactly 100");
  spit(source + "/line\nbreak", "newline");
  spit(source + "/\xff\xfe", "not UTF-8");
  spit(source + "/" + std::string(120, '\xfd'), "long and not UTF-8");
  spit(source + "/empty", "");
  spit(source + "/large", std::string(3'000'001, 'L'));
  fs::create_symlink(std::string(200, 't'), source + "/long-target");
  fs::create_symlink("short", source + "/link");
  fs::create_directory(source + "/empty-dir");
  ::chmod((source + "/empty-dir").c_str(), 01711);
  ::chmod((source + "/empty").c_str(), 0400);
  ASSERT_EQ(::mkfifo((source + "/fifo").c_str(), 0600), 0);
  timespec times[2] = {{0, UTIME_OMIT}, {-5, 500'000'000}};
  ASSERT_EQ(::utimensat(AT_FDCWD, (source + "/empty").c_str(), times, 0), 0);

  auto out = agent.tar_out(source);
  ASSERT_TRUE(out->ok()) << out->end->message;
  const auto result = out->result<FsTarResult>();
  EXPECT_EQ(result.skipped, std::vector<std::string>{"fifo"});
  EXPECT_EQ(out->out.size() % tarstream::kBlock, 0u);
  auto in = agent.tar_in(target() + "/copy", out->out);
  ASSERT_TRUE(in->ok()) << in->end->message;
  EXPECT_EQ(in->result<FsTarResult>().entries, result.entries);
  EXPECT_EQ(in->result<FsTarResult>().bytes, result.bytes);
  fs::remove(source + "/fifo");
  EXPECT_EQ(::system(("diff -r --no-dereference '" + source + "' '" + target() + "/copy' >/dev/null").c_str()), 0);
  EXPECT_EQ(mode_of(target() + "/copy/empty-dir"), 01711u);
  EXPECT_EQ(mode_of(target() + "/copy/empty"), 0400u);
  struct stat a{}, b{};
  for (const std::string name : {"/empty", "/large", "/empty-dir", "/link"}) {
    ::lstat((source + name).c_str(), &a);
    ::lstat((target() + "/copy" + name).c_str(), &b);
    EXPECT_EQ(a.st_mtim.tv_sec, b.st_mtim.tv_sec) << name;
    EXPECT_EQ(a.st_mtim.tv_nsec, b.st_mtim.tv_nsec) << name;
  }
}

TEST_F(AgentTar, GnuTarReadsWhatWePackAndWeReadWhatItPacks) {
  const auto source = target() + "/source";
  fs::create_directories(source + "/d/" + std::string(140, 'd'));
  spit(source + "/d/" + std::string(140, 'd') + "/" + std::string(140, 'f'), "long");
  spit(source + "/f", "f");
  fs::create_symlink(std::string(150, 'l'), source + "/s");
  fs::create_hard_link(source + "/f", source + "/hard");
  if (::system("tar --version >/dev/null 2>&1") != 0) GTEST_SKIP() << "no tar(1)";
  auto out = agent.tar_out(source);
  ASSERT_TRUE(out->ok());
  spit(target() + "/t.tar", out->out);
  const auto run = [&](const std::string& command) { return ::system(("cd '" + target() + "' && " + command + " >/dev/null").c_str()); };
  ASSERT_EQ(run("mkdir theirs && tar xf t.tar -C theirs"), 0);
  EXPECT_EQ(run("diff -r --no-dereference source theirs"), 0);
  for (const std::string format : {"gnu", "pax", "oldgnu"}) {
    ASSERT_EQ(run("tar cf " + format + ".tar --format=" + format + " -C source ."), 0);
    auto in = agent.tar_in(target() + "/" + format, slurp(target() + "/" + format + ".tar"), 4096);
    ASSERT_TRUE(in->ok()) << in->end->message;
    EXPECT_EQ(run("diff -r --no-dereference source " + format), 0) << format;
  }
}

TEST_F(AgentTar, PacksASingleFileUnderItsName) {
  spit(target() + "/one", "content");
  auto out = agent.tar_out(target() + "/one");
  ASSERT_TRUE(out->ok());
  ASSERT_TRUE(agent.tar_in(target() + "/x", out->out)->ok());
  EXPECT_EQ(slurp(target() + "/x/one"), "content");
  EXPECT_EQ(agent.tar_out(target() + "/none")->code(), ErrorCode::not_found);
}

TEST_F(AgentTar, AFileThatShrinksWhileItIsPackedKeepsTheArchiveWhole) {
  spit(target() + "/a", std::string(8 << 20, 'a'));
  auto call = agent.open(Method::fs_tar_out, protocol::FsTarRequest{target()});
  call->hold = true;
  for (int i = 0; i < 20; ++i) agent.turn();
  ASSERT_EQ(::truncate((target() + "/a").c_str(), 10), 0);
  call->hold = false;
  agent.client().consumed(call->stream, session::Channel::out, call->held);
  agent.wait(*call);
  ASSERT_TRUE(call->ok());
  EXPECT_EQ(call->result<FsTarResult>().skipped, std::vector<std::string>{"a"});
  auto in = agent.tar_in(target() + "/x", call->out);
  ASSERT_TRUE(in->ok()) << in->end->message;
  EXPECT_EQ(fs::file_size(target() + "/x/a"), 8u << 20);
}

TEST_F(AgentTar, ExtractionNeverFollowsADirectoryThatBecomesASymlink) {
  // The guest swaps a directory for a symlink to the outside as fast as it can.
  std::atomic<bool> stop{false};
  std::atomic<int> swaps{0};
  const std::string path = target() + "/d", link = target() + "/link", kept = target() + "/kept";
  fs::create_directory(path);
  fs::create_symlink(outside(), link);
  std::thread swapper([&] {
    while (!stop) {
      if (::rename(path.c_str(), kept.c_str()) == 0) {
        (void)!::rename(link.c_str(), path.c_str());
        ++swaps;
        (void)!::rename(path.c_str(), link.c_str());
        (void)!::rename(kept.c_str(), path.c_str());
      }
    }
  });
  while (swaps == 0) std::this_thread::yield();  // it is at work before we begin
  int refused = 0;
  for (int round = 0; round < 100; ++round) {
    Archive archive;
    archive.directory("d", 0755);
    for (int i = 0; i < 20; ++i) archive.file("d/f" + std::to_string(i), "x").file("d/sub" + std::to_string(i) + "/f", "x");
    archive.link(Kind::hardlink, "h", "d/f1").link(Kind::symlink, "d/s", "f1").directory("d", 0700);
    refused += agent.tar_in(target(), archive.take())->ok() ? 0 : 1;
  }
  stop = true;
  swapper.join();
  EXPECT_GT(swaps, 0);
  expect_untouched();
  RecordProperty("refused", refused);
}

}  // namespace
}  // namespace sandbox::agent::testing

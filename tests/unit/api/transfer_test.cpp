#include <gtest/gtest.h>

#include <sys/stat.h>

#include <filesystem>

#include "agent_box.hpp"
#include "api/extract.hpp"
#include "api/pack.hpp"
#include "tarstream/writer.hpp"

namespace sandbox::api::test {
namespace {

using namespace std::chrono_literals;
namespace fs = std::filesystem;
using tarstream::Kind;
using tarstream::Member;

/// A directory of the host's side.
struct Scratch {
  Scratch() {
    char name[] = "/tmp/sandbox-transfer-XXXXXX";
    path = ::mkdtemp(name);
  }
  ~Scratch() { fs::remove_all(path); }
  std::string at(const std::string& name) const { return path + "/" + name; }
  core::UniqueFd open() const { return core::UniqueFd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)); }
  std::string path;
};

std::string tar_member(std::string name, Kind kind, std::string content = {}, std::string link = {}, std::uint32_t mode = 0644) {
  Member member;
  member.name = std::move(name);
  member.kind = kind;
  member.size = content.size();
  member.link = std::move(link);
  member.mode = mode;
  return tarstream::encode_header(member) + content + std::string(tarstream::padding(content.size()), '\0');
}

Result<TransferSummary> extract(const Scratch& into, const std::string& tar, std::size_t piece = 1 << 20) {
  Extractor extractor(into.open());
  for (std::size_t at = 0; at < tar.size(); at += piece) SANDBOX_CHECK(extractor.feed(as_bytes(std::string_view(tar).substr(at, piece))));
  return extractor.finish();
}

std::string trailer() { return std::string(tarstream::kTrailer, '\0'); }

std::string text_of(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

TEST(Extract, PlainTreesArriveInAnyFragmentation) {
  const std::string tar = tar_member("./d/", Kind::directory, {}, {}, 0755) + tar_member("d/f", Kind::file, "content", {}, 0600) +
                          tar_member("d/l", Kind::symlink, {}, "f") + tar_member("h", Kind::hardlink, {}, "d/f") +
                          tar_member("x/y/z", Kind::file, std::string(5000, 'z')) + trailer();
  for (const std::size_t piece : {std::size_t{1}, std::size_t{511}, std::size_t{100000}}) {
    Scratch into;
    auto summary = extract(into, tar, piece);
    ASSERT_TRUE(summary) << summary.error().to_string();
    EXPECT_EQ(summary->entries, 5u);
    EXPECT_EQ(summary->bytes, 5007u);
    EXPECT_EQ(text_of(into.at("d/f")), "content");
    EXPECT_EQ(fs::read_symlink(into.at("d/l")), "f");
    EXPECT_EQ(text_of(into.at("h")), "content");
    EXPECT_EQ(text_of(into.at("x/y/z")).size(), 5000u);
  }
}

TEST(Extract, NamesThatLeaveTheDirectoryAreRefused) {
  for (const char* name : {"../evil", "a/../../evil", "/etc/evil", "a/..", ".."}) {
    Scratch outside;
    fs::create_directory(outside.at("in"));
    Scratch into;
    auto summary = extract(into, tar_member(name, Kind::file, "x") + trailer());
    ASSERT_FALSE(summary) << name;
    EXPECT_EQ(summary.error().code(), ErrorCode::corrupt) << name;
    EXPECT_TRUE(fs::is_empty(into.path));
  }
  Scratch into;
  auto hard = extract(into, tar_member("h", Kind::hardlink, {}, "../../etc/passwd") + trailer());
  SANDBOX_EXPECT_CODE(std::move(hard), ErrorCode::corrupt);
}

TEST(Extract, NothingIsWrittenThroughASymlink) {
  // A link planted before (here by the host's user) must not carry a member outside.
  Scratch outside, into;
  fs::create_directory_symlink(outside.path, into.at("link"));
  auto through = extract(into, tar_member("link/evil", Kind::file, "x") + trailer());
  ASSERT_FALSE(through);
  EXPECT_FALSE(through.error().message().empty());
  EXPECT_TRUE(fs::is_empty(outside.path));
  // A file that is a symlink is replaced, not followed.
  std::ofstream(outside.at("victim")) << "safe";
  fs::create_symlink(outside.at("victim"), into.at("file"));
  SANDBOX_EXPECT_OK(extract(into, tar_member("file", Kind::file, "new") + trailer()));
  EXPECT_EQ(text_of(outside.at("victim")), "safe");
  EXPECT_EQ(text_of(into.at("file")), "new");
  // A hard link to a symlink is not made.
  fs::create_symlink(outside.at("victim"), into.at("again"));
  auto linked = extract(into, tar_member("copy", Kind::hardlink, {}, "again") + trailer());
  ASSERT_TRUE(linked);
  EXPECT_EQ(linked->skipped, std::vector<std::string>{"copy"});
}

TEST(Extract, SymlinksThatCouldPointOutsideAreLeftOut) {
  EXPECT_TRUE(stays_beneath("a/b/l", "../x"));
  EXPECT_TRUE(stays_beneath("a/b/l", "../../x"));
  EXPECT_TRUE(stays_beneath("l", "a/./b"));
  EXPECT_FALSE(stays_beneath("a/b/l", "../../../x"));
  EXPECT_FALSE(stays_beneath("l", ".."));
  EXPECT_FALSE(stays_beneath("l", "/etc/passwd"));
  EXPECT_FALSE(stays_beneath("a/l", "p/../x"));  // p may be a symlink to elsewhere
  EXPECT_FALSE(stays_beneath("l", ""));
  Scratch into;
  auto summary = extract(into, tar_member("abs", Kind::symlink, {}, "/etc/passwd") + tar_member("up", Kind::symlink, {}, "../..") +
                                   tar_member("ok", Kind::symlink, {}, "abs") + trailer());
  ASSERT_TRUE(summary) << summary.error().to_string();
  EXPECT_EQ(summary->skipped, (std::vector<std::string>{"abs", "up"}));
  EXPECT_FALSE(fs::is_symlink(fs::symlink_status(into.at("abs"))));
  EXPECT_TRUE(fs::is_symlink(fs::symlink_status(into.at("ok"))));
}

TEST(Extract, DevicesAndFifosAreLeftOutAndModesLoseTheirSpecialBits) {
  Scratch into;
  auto summary = extract(into, tar_member("null", Kind::character) + tar_member("disk", Kind::block) + tar_member("pipe", Kind::fifo) +
                                   tar_member("su", Kind::file, "x", {}, 06755) + tar_member("sticky", Kind::directory, {}, {}, 01777) + trailer());
  ASSERT_TRUE(summary) << summary.error().to_string();
  EXPECT_EQ(summary->skipped, (std::vector<std::string>{"null", "disk", "pipe"}));
  EXPECT_EQ(summary->entries, 2u);
  struct stat status {};
  ASSERT_EQ(::stat(into.at("su").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07000, 0u);
  ASSERT_EQ(::stat(into.at("sticky").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07000, 0u);
}

TEST(Extract, GarbageAndCutStreamsAreErrors) {
  Scratch into;
  SANDBOX_EXPECT_CODE(extract(into, std::string(2048, 'x')), ErrorCode::corrupt);
  SANDBOX_EXPECT_CODE(extract(into, tar_member("f", Kind::file, std::string(3000, 'f')).substr(0, 2000)), ErrorCode::corrupt);
}

using Transfer = Boxes;

TEST_F(Transfer, AFileGoesInAndComesOut) {
  Scratch host;
  const std::string content(1234567, 'c');
  std::ofstream(host.at("in")) << content;
  ::chmod(host.at("in").c_str(), 0750);
  auto up = box.fs().upload(host.at("in"), at("sub/file"));
  ASSERT_TRUE(up) << up.error().to_string();
  EXPECT_EQ(up->bytes, content.size());
  EXPECT_EQ(box.fs().stat(at("sub/file"))->mode, 0750u);
  auto down = box.fs().download(at("sub/file"), host.at("out"));
  ASSERT_TRUE(down) << down.error().to_string();
  EXPECT_EQ(text_of(host.at("out")), content);
  SANDBOX_EXPECT_CODE(box.fs().download(at("nope"), host.at("x")), ErrorCode::not_found);
  SANDBOX_EXPECT_CODE(box.fs().upload(host.at("nope"), at("x")), ErrorCode::not_found);
  EXPECT_EQ(std::distance(fs::directory_iterator(host.path), fs::directory_iterator()), 2);
}

TEST_F(Transfer, ATreeGoesInAndComesOut) {
  Scratch host;
  fs::create_directories(host.at("tree/a/b"));
  fs::create_directories(host.at("tree/empty"));
  std::ofstream(host.at("tree/a/one")) << "1";
  std::ofstream(host.at("tree/a/b/big")) << std::string(3 << 20, 'b');
  std::ofstream(host.at("tree/a/odd \n\xff name")) << "odd";
  fs::create_symlink("one", host.at("tree/a/link"));
  ASSERT_EQ(::mkfifo(host.at("tree/pipe").c_str(), 0600), 0);
  auto up = box.fs().upload(host.at("tree"), at("t"));
  ASSERT_TRUE(up) << up.error().to_string();
  EXPECT_EQ(up->skipped, std::vector<std::string>{"pipe"});
  EXPECT_EQ(slurp(at("t/a/one")), "1");
  auto down = box.fs().download(at("t"), host.at("back"));
  ASSERT_TRUE(down) << down.error().to_string();
  EXPECT_EQ(text_of(host.at("back/a/b/big")).size(), std::size_t{3} << 20);
  EXPECT_EQ(text_of(host.at("back/a/odd \n\xff name")), "odd");
  EXPECT_EQ(fs::read_symlink(host.at("back/a/link")), "one");
  EXPECT_TRUE(fs::is_directory(host.at("back/empty")));
}

TEST_F(Transfer, TarStreamsPassThrough) {
  const std::string tar = tar_member("f", Kind::file, "tar") + trailer();
  std::size_t used = 0;
  auto up = box.fs().upload_tar(
      [&](std::span<std::byte> buffer) -> Result<std::size_t> {
        const auto n = std::min<std::size_t>(buffer.size(), std::min<std::size_t>(tar.size() - used, 100));
        std::memcpy(buffer.data(), tar.data() + used, n);
        used += n;
        return n;
      },
      at("dir"));
  ASSERT_TRUE(up) << up.error().to_string();
  EXPECT_EQ(up->entries, 1u);
  EXPECT_EQ(slurp(at("dir/f")), "tar");
  std::string back;
  auto down = box.fs().download_tar(at("dir"), [&](ByteView piece) -> Result<void> {
    back += as_text(piece);
    return {};
  });
  ASSERT_TRUE(down) << down.error().to_string();
  Scratch host;
  SANDBOX_EXPECT_OK(extract(host, back));
  EXPECT_EQ(text_of(host.at("f")), "tar");
}

}  // namespace
}  // namespace sandbox::api::test

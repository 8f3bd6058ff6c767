#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <set>

#include "conformance.hpp"

namespace sandbox::testing {
namespace {

class Files : public Conformance {};

std::set<std::string> names(const std::vector<FileInfo>& entries) {
  std::set<std::string> out;
  for (const auto& e : entries) out.insert(e.path);
  return out;
}

TEST_P(Files, WriteThenReadIsTheSame) {
  Sandbox b = box();
  const std::string content("binary \0\xff\n text", 15);
  EXPECT_OK(b.fs().write("/root/a", content));
  EXPECT_EQ(b.fs().read_text("/root/a").value(), content);
  EXPECT_EQ(b.fs().stat("/root/a").value().size, content.size());
  EXPECT_OK(b.fs().write("/root/a", ""));
  EXPECT_EQ(b.fs().read_text("/root/a").value(), "");
}

TEST_P(Files, OptionsOfWrite) {
  Sandbox b = box();
  WriteOptions parents;
  parents.make_parents = true;
  parents.mode = 0750;
  EXPECT_CODE(ErrorCode::not_found, b.fs().write("/root/x/y/z", "1"));
  EXPECT_OK(b.fs().write("/root/x/y/z", "1", parents));
  EXPECT_EQ(b.fs().stat("/root/x/y/z").value().mode & 0777, 0750u);
  EXPECT_OK(b.fs().append("/root/x/y/z", "2"));
  EXPECT_EQ(b.fs().read_text("/root/x/y/z").value(), "12");
  WriteOptions exclusive;
  exclusive.exclusive = true;
  EXPECT_CODE(ErrorCode::already_exists, b.fs().write("/root/x/y/z", "3", exclusive));
  EXPECT_EQ(b.fs().read_text("/root/x/y/z").value(), "12");
}

TEST_P(Files, RangesOfAFile) {
  Sandbox b = box();
  EXPECT_OK(b.fs().write("/root/r", "0123456789"));
  EXPECT_EQ(as_text(b.fs().read_range("/root/r", 3, 4).value()), "3456");
  EXPECT_EQ(as_text(b.fs().read_range("/root/r", 8, 100).value()), "89");
  EXPECT_TRUE(b.fs().read_range("/root/r", 50, 1).value().empty());
}

TEST_P(Files, LargeFilesStreamBothWays) {
  Sandbox b = box();
  std::uint64_t sent = 0;
  constexpr std::uint64_t kSize = 48 << 20;
  const auto source = [&](std::span<std::byte> buffer) -> Result<std::size_t> {
    const std::size_t n = std::min<std::uint64_t>(buffer.size(), kSize - sent);
    for (std::size_t i = 0; i < n; ++i) buffer[i] = std::byte((sent + i) * 131 >> 3);
    sent += n;
    return n;
  };
  EXPECT_EQ(b.fs().write_from("/root/big", source).value(), kSize);
  std::uint64_t received = 0;
  bool same = true;
  const auto sink = [&](ByteView piece) -> Result<void> {
    for (const std::byte one : piece) same &= one == std::byte(received++ * 131 >> 3);
    return {};
  };
  EXPECT_EQ(b.fs().read_to("/root/big", sink).value(), kSize);
  EXPECT_EQ(received, kSize);
  EXPECT_TRUE(same);
}

TEST_P(Files, AFailedUploadLeavesTheOldFile) {
  Sandbox b = box();
  EXPECT_OK(b.fs().write("/root/keep", "old"));
  int calls = 0;
  const auto source = [&](std::span<std::byte> buffer) -> Result<std::size_t> {
    if (++calls > 3) return Error(ErrorCode::unavailable, "source broke");
    std::fill(buffer.begin(), buffer.end(), std::byte('n'));
    return buffer.size();
  };
  EXPECT_CODE(ErrorCode::unavailable, b.fs().write_from("/root/keep", source));
  EXPECT_EQ(b.fs().read_text("/root/keep").value(), "old");
  EXPECT_EQ(names(b.fs().list("/root").value()), std::set<std::string>{"keep"}) << "no temporary file is left";
}

TEST_P(Files, ListStatAndTypes) {
  Sandbox b = box();
  EXPECT_OK(b.fs().mkdir("/root/d/e"));
  EXPECT_OK(b.fs().write("/root/d/f", "12345"));
  EXPECT_OK(b.fs().symlink("f", "/root/d/l"));
  EXPECT_TRUE(b.process().exec("mkfifo /root/d/p").value().ok());
  const auto entries = b.fs().list("/root/d").value();
  ASSERT_EQ(entries.size(), 4u);
  EXPECT_EQ(entries[0].path, "e");
  EXPECT_EQ(entries[0].type, FileType::directory);
  EXPECT_EQ(entries[1].type, FileType::regular);
  EXPECT_EQ(entries[1].size, 5u);
  EXPECT_EQ(entries[2].type, FileType::symlink);
  EXPECT_EQ(entries[2].target, "f");
  EXPECT_EQ(entries[3].type, FileType::fifo);
  EXPECT_EQ(b.fs().stat("/root/d/l").value().type, FileType::regular);
  EXPECT_EQ(b.fs().lstat("/root/d/l").value().type, FileType::symlink);
  EXPECT_TRUE(b.fs().exists("/root/d/f").value());
  EXPECT_FALSE(b.fs().exists("/root/d/none").value());
  EXPECT_EQ(b.fs().stat("/root/d/f").value().uid, 0u);
}

TEST_P(Files, RemoveRenameCopyChmod) {
  Sandbox b = box();
  EXPECT_OK(b.fs().mkdir("/root/d/e"));
  EXPECT_OK(b.fs().write("/root/d/e/f", "x"));
  EXPECT_CODE(ErrorCode::failed_precondition, b.fs().remove("/root/d"));
  EXPECT_OK(b.fs().rename("/root/d/e/f", "/root/d/g"));
  EXPECT_CODE(ErrorCode::not_found, b.fs().read("/root/d/e/f"));
  EXPECT_OK(b.fs().chmod("/root/d/g", 0600));
  EXPECT_EQ(b.fs().stat("/root/d/g").value().mode & 0777, 0600u);
  EXPECT_OK(b.fs().copy("/root/d", "/root/copy"));
  EXPECT_EQ(b.fs().read_text("/root/copy/g").value(), "x");
  EXPECT_OK(b.fs().remove_all("/root/d"));
  EXPECT_OK(b.fs().remove_all("/root/d"));
  EXPECT_FALSE(b.fs().exists("/root/d").value());
  EXPECT_OK(b.fs().remove("/root/copy/g"));
  EXPECT_CODE(ErrorCode::not_found, b.fs().remove("/root/copy/g"));
}

TEST_P(Files, FindFollowsGlobs) {
  Sandbox b = box();
  for (const char* path : {"/root/a.py", "/root/b.txt", "/root/s/c.py", "/root/s/t/d.py"}) {
    WriteOptions parents;
    parents.make_parents = true;
    EXPECT_OK(b.fs().write(path, "", parents));
  }
  EXPECT_EQ(names(b.fs().find("/root", "*.py").value()), (std::set<std::string>{"a.py"}));
  EXPECT_EQ(names(b.fs().find("/root", "**/*.py").value()), (std::set<std::string>{"a.py", "s/c.py", "s/t/d.py"}));
  FindOptions directories;
  directories.type = FileType::directory;
  EXPECT_EQ(names(b.fs().find("/root", "**", directories).value()), (std::set<std::string>{"s", "s/t"}));
}

TEST_P(Files, WatchSeesWhatHappensAfterIt) {
  Sandbox b = box();
  EXPECT_OK(b.fs().mkdir("/root/w"));
  Watch watch = b.fs().watch("/root/w").value();
  std::multimap<std::string, FileEvent::Kind> seen;
  bool renamed = false;
  const auto until = [&](const std::string& path, FileEvent::Kind kind) {
    for (;;) {
      const FileEvent event = watch.next(10s).value();
      seen.emplace(event.path, event.kind);
      renamed |= event.kind == FileEvent::Kind::renamed && event.old_path == "/root/w/d/f" && event.path == "/root/w/d/g";
      if (event.kind == kind && event.path == path) return;
    }
  };
  // Created inside a directory that is itself new. What comes and goes before the directory is looked at, nobody sees.
  EXPECT_TRUE(b.process().exec("cd /root/w; mkdir d; echo 1 > d/f").value().ok());
  until("/root/w/d/f", FileEvent::Kind::created);
  EXPECT_TRUE(seen.contains("/root/w/d"));
  EXPECT_TRUE(b.process().exec("cd /root/w; mv d/f d/g; rm d/g").value().ok());
  until("/root/w/d/g", FileEvent::Kind::removed);
  EXPECT_TRUE(renamed);
  auto late = watch.next(50ms);
  while (late) late = watch.next(50ms);  // another word about what is gone
  EXPECT_CODE(ErrorCode::deadline_exceeded, late);
}

TEST_P(Files, WatchSeesFilesUnderTheirOwnNamesOnly) {
  Sandbox b = box();
  EXPECT_OK(b.fs().write("/root/w/old", "1", [] { WriteOptions o; o.make_parents = true; return o; }()));
  Watch watch = b.fs().watch("/root/w").value();
  EXPECT_OK(b.fs().write("/root/w/old", "2"));
  EXPECT_OK(b.fs().write("/root/w/new", "3"));
  EXPECT_OK(b.fs().copy("/root/w/new", "/root/w/copy"));
  EXPECT_OK(b.fs().mkdir("/root/w/end"));
  using Kind = FileEvent::Kind;
  const std::vector<std::pair<Kind, std::string>> expected = {{Kind::modified, "/root/w/old"}, {Kind::created, "/root/w/new"},
                                                              {Kind::created, "/root/w/copy"}, {Kind::created, "/root/w/end"}};
  for (const auto& [kind, path] : expected) {
    const FileEvent event = watch.next(10s).value();
    EXPECT_EQ(event.path, path);
    EXPECT_EQ(event.kind, kind);
  }
}

TEST_P(Files, DirectoriesTravelBothWays) {
  Sandbox b = box();
  StateDirectory host;
  const std::filesystem::path from = std::filesystem::path(host.path()) / "from", to = std::filesystem::path(host.path()) / "to";
  std::filesystem::create_directories(from / "sub" / std::string(200, 'n'));
  std::ofstream(from / "sub" / std::string(200, 'n') / "f\nn") << "content";
  std::ofstream(from / "x") << std::string(1 << 20, 'z');
  std::filesystem::create_symlink("x", from / "link");
  ::chmod((from / "x").c_str(), 0755);
  EXPECT_OK(b.fs().upload(from, "/root/up"));
  EXPECT_EQ(b.fs().read_text("/root/up/sub/" + std::string(200, 'n') + "/f\nn").value(), "content");
  EXPECT_EQ(b.fs().lstat("/root/up/link").value().target, "x");
  EXPECT_EQ(b.fs().stat("/root/up/x").value().mode & 0777, 0755u);
  EXPECT_OK(b.fs().download("/root/up", to));
  EXPECT_TRUE(std::filesystem::is_symlink(to / "link"));
  EXPECT_EQ(std::filesystem::file_size(to / "x"), 1u << 20);
  EXPECT_TRUE(std::filesystem::exists(to / "sub" / std::string(200, 'n') / "f\nn"));
  EXPECT_OK(b.fs().upload(from / "x", "/root/single"));
  EXPECT_EQ(b.fs().stat("/root/single").value().size, 1u << 20);
  EXPECT_OK(b.fs().download("/root/single", to / "single"));
  EXPECT_EQ(std::filesystem::file_size(to / "single"), 1u << 20);
}

TEST_P(Files, BadPathsAreRefusedByCode) {
  Sandbox b = box();
  Fs fs = b.fs();
  for (const std::string& bad : {std::string("relative"), std::string(""), std::string("/a\0b", 4), "/" + std::string(5000, 'a')}) {
    EXPECT_CODE(ErrorCode::invalid_argument, fs.read(bad));
    EXPECT_CODE(ErrorCode::invalid_argument, fs.write(bad, "x"));
    EXPECT_CODE(ErrorCode::invalid_argument, fs.list(bad));
    EXPECT_CODE(ErrorCode::invalid_argument, fs.stat(bad));
    EXPECT_CODE(ErrorCode::invalid_argument, fs.mkdir(bad));
    EXPECT_CODE(ErrorCode::invalid_argument, fs.remove(bad));
    EXPECT_CODE(ErrorCode::invalid_argument, fs.rename(bad, "/root/x"));
    EXPECT_CODE(ErrorCode::invalid_argument, fs.rename("/root/x", bad));
    EXPECT_CODE(ErrorCode::invalid_argument, fs.copy(bad, "/root/x"));
    EXPECT_CODE(ErrorCode::invalid_argument, fs.find(bad, "*"));
    EXPECT_CODE(ErrorCode::invalid_argument, fs.watch(bad));
  }
  EXPECT_OK(b.ping());
}

TEST_P(Files, OddNamesAreOrdinary) {
  Sandbox b = box();
  for (const std::string& name : {std::string("line\nbreak"), std::string("\xff\xfe invalid"), std::string("-rf"), std::string("*"), std::string(255, 'L')}) {
    EXPECT_OK(b.fs().write("/root/" + name, name));
    EXPECT_EQ(b.fs().read_text("/root/" + name).value(), name);
    EXPECT_EQ(names(b.fs().list("/root").value()), std::set<std::string>{name});
    EXPECT_OK(b.fs().remove("/root/" + name));
  }
}

TEST_P(Files, SpecialFilesAreRefusedAtOnce) {
  Sandbox b = box();
  EXPECT_TRUE(b.process().exec("mkfifo /root/fifo; ln -s fifo /root/link; mkdir /root/dir").value().ok());
  const auto start = std::chrono::steady_clock::now();
  for (const char* path : {"/root/fifo", "/root/link", "/root/dir", "/dev/zero"}) {
    EXPECT_CODE(ErrorCode::invalid_argument, b.fs().read(path));
    if (std::string(path) != "/dev/zero") EXPECT_CODE(ErrorCode::invalid_argument, b.fs().append(path, "x"));
  }
  EXPECT_LT(std::chrono::steady_clock::now() - start, 2s);
}

TEST_P(Files, DotDotStaysInsideTheSandbox) {
  Sandbox b = box();
  EXPECT_OK(b.fs().write("/root/../root/x", "1"));
  EXPECT_EQ(b.fs().read_text("/../../../../root/x").value(), "1");
  EXPECT_CODE(ErrorCode::not_found, b.fs().read("/../../../../etc/shadow"));
  EXPECT_OK(b.fs().symlink("/../../../../..", "/root/up"));
  EXPECT_CODE(ErrorCode::not_found, b.fs().read("/root/up/etc/shadow"));
}

TEST_P(Files, ReadOnlyPlacesSaySo) {
  Sandbox b = box();
  EXPECT_CODE(ErrorCode::permission_denied, b.fs().write("/usr/x", "1"));
  EXPECT_CODE(ErrorCode::permission_denied, b.fs().write("/x", "1"));
  EXPECT_CODE(ErrorCode::permission_denied, b.fs().mkdir("/new"));
}

TEST_P(Files, HugeSparseFilesAreHandled) {
  Sandbox b = box();
  EXPECT_TRUE(b.process().exec("truncate -s 8G /root/sparse").value().ok());
  EXPECT_EQ(b.fs().stat("/root/sparse").value().size, 8ull << 30);
  EXPECT_CODE(ErrorCode::resource_exhausted, b.fs().read("/root/sparse", 1_MiB));
  EXPECT_EQ(b.fs().read_range("/root/sparse", (8ull << 30) - 2, 10).value().size(), 2u);
}

TEST_P(Files, DiskAndInodeLimitsEndInResourceExhausted) {
  Sandbox b = make(spec().limits(Limits().disk(4_MiB).inodes(200)));
  EXPECT_CODE(ErrorCode::resource_exhausted, b.fs().write("/root/big", std::string(6 << 20, 'x')));
  EXPECT_FALSE(b.fs().exists("/root/big").value());
  EXPECT_OK(b.fs().write("/root/ok", std::string(1 << 20, 'x')));
  EXPECT_FALSE(b.process().exec("for i in $(seq 300); do : > /root/f$i || exit 1; done").value().ok());
  EXPECT_OK(b.ping());
}

TEST_P(Files, WholeRootIsWritableWhenAsked) {
  Sandbox b = make(spec().writable_root());
  EXPECT_OK(b.fs().write("/usr/local/marker", "1"));
  EXPECT_EQ(b.process().exec("cat /usr/local/marker; rm -r /usr/share/doc 2>/dev/null; ls /usr/share/doc 2>/dev/null | wc -l").value().stdout_text(), "10\n");
  Sandbox other = make(spec().writable_root());
  EXPECT_FALSE(other.fs().exists("/usr/local/marker").value());
}

SANDBOX_CONFORMANCE(Files)

}  // namespace
}  // namespace sandbox::testing

#include <gtest/gtest.h>

#include <cstring>

#include "tarstream/reader.hpp"
#include "tarstream/writer.hpp"

namespace sandbox::tarstream {
namespace {

struct Read {
  std::vector<Member> members;
  std::vector<std::string> contents;
  bool ended = false;
  std::optional<ErrorCode> error;
};

Read read(std::string_view tar, std::size_t piece = 4096) {
  Read out;
  Reader reader;
  while (!tar.empty()) {
    ByteView input = as_bytes(tar.substr(0, piece));
    tar.remove_prefix(input.size());
    for (;;) {
      auto event = reader.next(input);
      if (!event) {
        out.error = event.error().code();
        return out;
      }
      if (*event == Reader::Event::need_more) break;
      if (*event == Reader::Event::member) {
        out.members.push_back(reader.member());
        out.contents.emplace_back();
      } else if (*event == Reader::Event::data) {
        out.contents.back() += as_text(reader.data());
      } else if (*event == Reader::Event::end) {
        out.ended = true;
      }
    }
  }
  if (auto finished = reader.finish(); !finished) out.error = finished.error().code();
  return out;
}

std::string member(const Member& m, std::string_view content = {}) {
  Member sized = m;
  sized.size = content.size();
  std::string out = encode_header(sized);
  out += content;
  out.append(padding(content.size()), '\0');
  return out;
}

/// Sets the checksum of the last 512 bytes after a test changed them.
void seal(std::string& header) {
  char* h = header.data() + header.size() - kBlock;
  std::memset(h + 148, ' ', 8);
  unsigned sum = 0;
  for (std::size_t i = 0; i < kBlock; ++i) sum += static_cast<unsigned char>(h[i]);
  for (int i = 5; i >= 0; --i, sum >>= 3) h[148 + i] = static_cast<char>('0' + (sum & 7));
  h[154] = '\0';
}

TEST(TarStream, RoundTripsMembersInAnyFragmentation) {
  std::vector<Member> members;
  for (const std::size_t length : {1u, 99u, 100u, 101u, 155u, 256u, 257u, 300u, 5000u}) {
    std::string name(length, 'n');
    members.push_back({.name = name, .mode = 0644, .uid = 1000, .gid = 1000, .modified_ns = 1'700'000'000'123'456'789});
    if (length > 50) name[length / 2] = '/';
    members.push_back({.name = name, .kind = Kind::directory, .mode = 01755});
    members.push_back({.name = "l", .link = std::string(length, 't'), .kind = Kind::symlink, .mode = 0777});
  }
  members.push_back({.name = "new\nline \xff", .mode = 06755, .uid = 1ull << 40, .gid = 3'000'000, .modified_ns = -1'500'000'000});
  members.push_back({.name = std::string(120, '\xff'), .link = "a", .kind = Kind::hardlink});
  members.push_back({.name = "dev", .kind = Kind::character, .major = 1, .minor = 3});
  std::string tar;
  for (const auto& m : members) tar += member(m, m.kind == Kind::file ? "content" : "");
  tar.append(kTrailer, '\0');
  for (const std::size_t piece : {1u, 7u, 512u, 100'000u}) {
    const auto got = read(tar, piece);
    ASSERT_FALSE(got.error) << piece;
    EXPECT_TRUE(got.ended);
    ASSERT_EQ(got.members.size(), members.size());
    for (std::size_t i = 0; i < members.size(); ++i) {
      const auto &a = members[i], &b = got.members[i];
      EXPECT_EQ(a.name, b.name);
      EXPECT_EQ(a.link, b.link);
      EXPECT_EQ(a.kind, b.kind);
      EXPECT_EQ(a.mode, b.mode);
      EXPECT_EQ(a.uid, b.uid);
      EXPECT_EQ(a.gid, b.gid);
      EXPECT_EQ(a.modified_ns, b.modified_ns);
      EXPECT_EQ(a.major, b.major);
      EXPECT_EQ(a.minor, b.minor);
      EXPECT_EQ(got.contents[i], a.kind == Kind::file ? "content" : "");
    }
  }
}

TEST(TarStream, HugeSizesTravelInPax) {
  Member m{.name = "huge", .size = 1ull << 40, .mode = 0644};
  const auto header = encode_header(m);
  Reader reader;
  ByteView input = as_bytes(header);
  auto event = reader.next(input);
  ASSERT_TRUE(event && *event == Reader::Event::member);
  EXPECT_EQ(reader.member().size, 1ull << 40);
  const auto finished = reader.finish();
  ASSERT_FALSE(finished);
  EXPECT_EQ(finished.error().code(), ErrorCode::corrupt);
}

TEST(TarStream, ReadsGnuNumbersAndLongNames) {
  std::string longname = member({.name = "././@LongLink"}, std::string(200, 'g') + '\0');
  longname[156] = 'L';
  std::string first = longname.substr(0, kBlock);
  seal(first);
  longname.replace(0, kBlock, first);
  std::string header = encode_header({.name = "short", .mode = 0600});
  std::memcpy(header.data() + 257, "ustar  ", 8);
  std::memset(header.data() + 124, 0, 12);   // size 5 in base 256
  header[124] = static_cast<char>(0x80);
  header[135] = 5;
  std::memset(header.data() + 136, '\xff', 12);  // mtime -1
  seal(header);
  const auto got = read(longname + header + "12345" + std::string(507, '\0') + std::string(kTrailer, '\0'));
  ASSERT_FALSE(got.error);
  ASSERT_EQ(got.members.size(), 1u);
  EXPECT_EQ(got.members[0].name, std::string(200, 'g'));
  EXPECT_EQ(got.members[0].modified_ns, -1'000'000'000);
  EXPECT_EQ(got.contents[0], "12345");
}

TEST(TarStream, PaxRecordsOverrideAndEndWithTheirMember) {
  const auto pax = [](std::string records, char type) {
    std::string out = member({.name = "pax"}, records);
    std::string header = out.substr(0, kBlock);
    header[156] = type;
    seal(header);
    return out.replace(0, kBlock, header);
  };
  const auto tar = pax("18 mtime=42.000001\n", 'g');
  EXPECT_TRUE(read(tar + member({.name = "x"})).error) << "length and text of the record disagree";
  const auto global = pax("19 mtime=42.000001\n", 'g');
  const auto local = pax("14 path=other\n9 size=3\n", 'x');
  std::string header = encode_header({.name = "ignored"});
  const auto got = read(global + local + header + "abc" + std::string(509, '\0') + member({.name = "next"}) + std::string(kTrailer, '\0'));
  ASSERT_FALSE(got.error);
  ASSERT_EQ(got.members.size(), 2u);
  EXPECT_EQ(got.members[0].name, "other");
  EXPECT_EQ(got.contents[0], "abc");
  EXPECT_EQ(got.members[0].modified_ns, 42'000'001'000);
  EXPECT_EQ(got.members[1].name, "next");
  EXPECT_EQ(got.members[1].modified_ns, 42'000'001'000);
  for (const char* bad : {"5 a\n", "x path=a\n", "99 path=a\n", "9 size=-\n", "10 size=-1\n", "26 size=99999999999999999999\n", "0 \n", " =\n",
                          "11 mtime=x\n"})
    EXPECT_EQ(read(pax(bad, 'x') + member({.name = "x"})).error, ErrorCode::corrupt) << bad;
  EXPECT_EQ(read(pax(std::string("11 path=a\0b\n", 12).replace(0, 2, "12"), 'x') + member({.name = "x"})).error, ErrorCode::corrupt);
}

TEST(TarStream, RefusesWhatIsDamaged) {
  const auto good = member({.name = "f", .mode = 0644}, "content");
  for (std::size_t at : {0u, 100u, 124u, 136u, 148u, 156u, 257u, 500u}) {
    auto bad = good;
    bad[at] = static_cast<char>(bad[at] + 1);
    EXPECT_EQ(read(bad).error, ErrorCode::corrupt) << at;
  }
  for (std::size_t size = 1; size < good.size(); ++size) EXPECT_TRUE(read(good.substr(0, size)).error) << size;
  EXPECT_FALSE(read("").error);
  EXPECT_FALSE(read(good).error);
  EXPECT_EQ(read(std::string(kBlock, '\0') + good).error, ErrorCode::corrupt);
  auto negative = encode_header({.name = "f"});
  std::memset(negative.data() + 124, '\xff', 12);
  seal(negative);
  EXPECT_EQ(read(negative).error, ErrorCode::corrupt);
  auto long_extension = encode_header({.name = "f", .size = kMaxExtension + 1});
  long_extension[156] = 'x';
  seal(long_extension);
  EXPECT_EQ(read(long_extension).error, ErrorCode::corrupt) << "extensions are held in memory and have a bound";
}

TEST(TarStream, SparseMembersAreMarkedNotMisread) {
  auto header = encode_header({.name = "sparse", .size = 3});
  std::memcpy(header.data() + 257, "ustar  ", 8);
  header[156] = 'S';
  header[482] = 1;
  seal(header);
  const auto got = read(header + std::string(kBlock, '\0') + "abc" + std::string(509, '\0') + member({.name = "next"}, "n"));
  ASSERT_FALSE(got.error);
  ASSERT_EQ(got.members.size(), 2u);
  EXPECT_EQ(got.members[0].kind, Kind::other);
  EXPECT_EQ(got.contents[1], "n");
}

TEST(TarStream, WhatFollowsTheEndIsSwallowed) {
  const auto got = read(member({.name = "f"}, "x") + std::string(kTrailer, '\0') + std::string(10'000, 'g'), 100);
  EXPECT_FALSE(got.error);
  EXPECT_EQ(got.members.size(), 1u);
}

}  // namespace
}  // namespace sandbox::tarstream

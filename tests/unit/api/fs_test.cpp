#include <gtest/gtest.h>

#include <sys/stat.h>

#include <filesystem>
#include <thread>

#include "agent_box.hpp"

namespace sandbox::api::test {
namespace {

using namespace std::chrono_literals;
using Files = Boxes;

TEST_F(Files, ReadAndWriteAnySize) {
  for (const std::size_t size : {std::size_t{0}, std::size_t{1}, std::size_t{4096}, std::size_t{700001}, std::size_t{5} << 20}) {
    const std::string text = pattern(size);
    SANDBOX_EXPECT_OK(box.fs().write(at("f"), text));
    EXPECT_EQ(slurp(at("f")), text);
    auto back = box.fs().read_text(at("f"));
    ASSERT_TRUE(back) << back.error().to_string();
    EXPECT_EQ(*back, text);
  }
}

TEST_F(Files, ReadsRangesAndLimits) {
  spill(at("f"), "0123456789");
  auto middle = box.fs().read_range(at("f"), 3, 4);
  ASSERT_TRUE(middle);
  EXPECT_EQ(as_text(*middle), "3456");
  EXPECT_EQ(box.fs().read_range(at("f"), 8, 100)->size(), 2u);
  EXPECT_EQ(box.fs().read_range(at("f"), 100, 1)->size(), 0u);
  SANDBOX_EXPECT_CODE(box.fs().read(at("f"), ByteCount(9)), ErrorCode::resource_exhausted);
  SANDBOX_EXPECT_OK(box.fs().read(at("f"), ByteCount(10)));
}

TEST_F(Files, WriteOptionsHold) {
  WriteOptions exclusive;
  exclusive.exclusive = true;
  exclusive.mode = 0640;
  SANDBOX_EXPECT_OK(box.fs().write(at("x"), "1", exclusive));
  SANDBOX_EXPECT_CODE(box.fs().write(at("x"), "2", exclusive), ErrorCode::already_exists);
  EXPECT_EQ(box.fs().stat(at("x"))->mode, 0640u);
  SANDBOX_EXPECT_OK(box.fs().append(at("x"), "23"));
  EXPECT_EQ(slurp(at("x")), "123");
  SANDBOX_EXPECT_CODE(box.fs().write(at("a/b/c"), "x"), ErrorCode::not_found);
  WriteOptions parents;
  parents.make_parents = true;
  SANDBOX_EXPECT_OK(box.fs().write(at("a/b/c"), "x", parents));
  EXPECT_EQ(slurp(at("a/b/c")), "x");
}

TEST_F(Files, StreamsInAndOutInPieces) {
  const std::string text = pattern(9 << 20);
  std::size_t at_byte = 0;
  auto written = box.fs().write_from(at("big"), [&](std::span<std::byte> buffer) -> Result<std::size_t> {
    const auto n = std::min(buffer.size(), text.size() - at_byte);
    std::memcpy(buffer.data(), text.data() + at_byte, n);
    at_byte += n;
    return n;
  });
  ASSERT_TRUE(written) << written.error().to_string();
  EXPECT_EQ(*written, text.size());
  std::string back;
  std::size_t largest = 0;
  auto read = box.fs().read_to(at("big"), [&](ByteView piece) -> Result<void> {
    largest = std::max(largest, piece.size());
    back += as_text(piece);
    return {};
  });
  ASSERT_TRUE(read) << read.error().to_string();
  EXPECT_EQ(*read, text.size());
  EXPECT_TRUE(back == text);
  EXPECT_LE(largest, std::size_t{2} << 20);
}

TEST_F(Files, AFailingSourceLeavesTheOldFile) {
  spill(at("f"), "old");
  int calls = 0;
  auto written = box.fs().write_from(at("f"), [&](std::span<std::byte> buffer) -> Result<std::size_t> {
    if (++calls == 3) return Error(ErrorCode::corrupt, "source broke");
    return buffer.size();
  });
  ASSERT_FALSE(written);
  EXPECT_EQ(written.error().code(), ErrorCode::corrupt);
  SANDBOX_EXPECT_OK(box.process().exec("true"));
  EXPECT_EQ(slurp(at("f")), "old");
}

TEST_F(Files, AFailingSinkStopsTheTransfer) {
  spill(at("f"), pattern(8 << 20));
  auto read = box.fs().read_to(at("f"), [](ByteView) -> Result<void> { return Error(ErrorCode::resource_exhausted, "sink full"); });
  ASSERT_FALSE(read);
  EXPECT_EQ(read.error().message(), "sink full");
  SANDBOX_EXPECT_OK(box.fs().stat(at("f")));
}

TEST_F(Files, AWriteThatFailsEarlyDoesNotReadTheWholeSource) {
  std::uint64_t asked = 0;
  auto written = box.fs().write_from("/no/such/dir/f", [&](std::span<std::byte> buffer) -> Result<std::size_t> {
    asked += buffer.size();
    return asked > (std::uint64_t{1} << 30) ? 0 : buffer.size();
  });
  ASSERT_FALSE(written);
  EXPECT_EQ(written.error().code(), ErrorCode::not_found);
  EXPECT_LT(asked, std::uint64_t{16} << 20);
}

TEST_F(Files, ListsStatsAndFinds) {
  auto fs = box.fs();
  SANDBOX_EXPECT_OK(fs.mkdir(at("d/e")));
  SANDBOX_EXPECT_OK(fs.mkdir(at("d/e")));
  SANDBOX_EXPECT_OK(fs.write(at("d/b.txt"), "bb"));
  SANDBOX_EXPECT_OK(fs.write(at("d/a\n\xff"), "a"));
  SANDBOX_EXPECT_OK(fs.write(at("d/e/c.txt"), "ccc"));
  SANDBOX_EXPECT_OK(fs.symlink("b.txt", at("d/link")));
  auto list = fs.list(at("d"));
  ASSERT_TRUE(list) << list.error().to_string();
  ASSERT_EQ(list->size(), 4u);
  EXPECT_EQ((*list)[0].path, "a\n\xff");
  EXPECT_EQ((*list)[1].path, "b.txt");
  EXPECT_EQ((*list)[1].size, 2u);
  EXPECT_EQ((*list)[2].type, FileType::directory);
  EXPECT_EQ((*list)[3].type, FileType::symlink);
  EXPECT_EQ(fs.stat(at("d/link"))->type, FileType::regular);
  EXPECT_EQ(fs.lstat(at("d/link"))->target, "b.txt");
  EXPECT_TRUE(*fs.exists(at("d/b.txt")));
  EXPECT_FALSE(*fs.exists(at("d/nope")));
  SANDBOX_EXPECT_CODE(fs.stat(at("d/nope")), ErrorCode::not_found);
  auto found = fs.find(at("d"), "**/*.txt");
  ASSERT_TRUE(found) << found.error().to_string();
  ASSERT_EQ(found->size(), 2u);
  EXPECT_EQ((*found)[0].path, "b.txt");
  EXPECT_EQ((*found)[1].path, "e/c.txt");
}

TEST_F(Files, MovesCopiesAndRemoves) {
  auto fs = box.fs();
  SANDBOX_EXPECT_OK(fs.mkdir(at("t/sub")));
  SANDBOX_EXPECT_OK(fs.write(at("t/one"), "1"));
  SANDBOX_EXPECT_OK(fs.write(at("t/sub/two"), "22"));
  auto copied = fs.copy(at("t"), at("u"));
  ASSERT_TRUE(copied) << copied.error().to_string();
  EXPECT_EQ(*copied, 3u);
  EXPECT_EQ(slurp(at("u/sub/two")), "22");
  SANDBOX_EXPECT_OK(fs.rename(at("u/one"), at("u/uno")));
  EXPECT_EQ(slurp(at("u/uno")), "1");
  SANDBOX_EXPECT_OK(fs.chmod(at("u/uno"), 0600));
  EXPECT_EQ(fs.stat(at("u/uno"))->mode, 0600u);
  SANDBOX_EXPECT_OK(fs.remove(at("u/uno")));
  SANDBOX_EXPECT_CODE(fs.remove(at("u/uno")), ErrorCode::not_found);
  SANDBOX_EXPECT_OK(fs.remove_all(at("u")));
  SANDBOX_EXPECT_OK(fs.remove_all(at("u")));
  EXPECT_FALSE(std::filesystem::exists(at("u")));
}

TEST_F(Files, PathsAreCheckedHere) {
  auto fs = box.fs();
  const std::string nul("/a\0b", 4);
  const std::string long_path = "/" + std::string(4095, 'x');
  for (const std::string& path : {std::string(), std::string("relative"), nul, long_path}) {
    for (auto code : {fs.read(path).error().code(), fs.write(path, "x").error().code(), fs.list(path).error().code(),
                      fs.stat(path).error().code(), fs.mkdir(path).error().code(), fs.remove(path).error().code(),
                      fs.remove_all(path).error().code(), fs.rename(path, "/x").error().code(), fs.rename("/x", path).error().code(),
                      fs.copy(path, "/x").error().code(), fs.chmod(path, 0).error().code(), fs.symlink("x", path).error().code(),
                      fs.find(path, "*").error().code(), fs.watch(path).error().code(), fs.read_range(path, 0, 1).error().code()}) {
      EXPECT_EQ(code, ErrorCode::invalid_argument);
    }
  }
  SANDBOX_EXPECT_CODE(fs.chmod("/x", 010000), ErrorCode::invalid_argument);
}

TEST_F(Files, OnlyRegularFilesAreOpened) {
  ASSERT_EQ(::mkfifo(at("fifo").c_str(), 0600), 0);
  SANDBOX_EXPECT_CODE(box.fs().read(at("fifo")), ErrorCode::invalid_argument);
  SANDBOX_EXPECT_CODE(box.fs().read(agent->directory()), ErrorCode::invalid_argument);
}

TEST_F(Files, AWatchTellsChanges) {
  auto watch = box.fs().watch(agent->directory());
  ASSERT_TRUE(watch) << watch.error().to_string();
  SANDBOX_EXPECT_CODE(watch->next(20ms), ErrorCode::deadline_exceeded);
  spill(at("new"), "x");
  auto event = watch->next(10s);
  ASSERT_TRUE(event) << event.error().to_string();
  EXPECT_EQ(event->path, at("new"));
  EXPECT_EQ(event->kind, FileEvent::Kind::created);
  std::filesystem::remove(at("new"));
  for (;;) {
    event = watch->next(10s);
    ASSERT_TRUE(event) << event.error().to_string();
    if (event->kind == FileEvent::Kind::removed) break;
  }
  EXPECT_EQ(event->path, at("new"));
}

TEST_F(Files, ManyThreadsAtOnce) {
  std::vector<std::jthread> threads;
  for (int t = 0; t < 6; ++t) {
    threads.emplace_back([&, t] {
      const std::string text = pattern(static_cast<std::size_t>(100000 * (t + 1)));
      const std::string path = at("t" + std::to_string(t));
      for (int i = 0; i < 10; ++i) {
        SANDBOX_EXPECT_OK(box.fs().write(path, text));
        auto back = box.fs().read_text(path);
        ASSERT_TRUE(back) << back.error().to_string();
        EXPECT_TRUE(*back == text);
      }
    });
  }
}

}  // namespace
}  // namespace sandbox::api::test

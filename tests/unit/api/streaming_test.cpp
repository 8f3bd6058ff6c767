#include <sandbox/asio.hpp>

#include <gtest/gtest.h>

#include <future>

#include <boost/asio/use_future.hpp>

#include "agent_box.hpp"

namespace sandbox::api::test {
namespace {

using namespace std::chrono_literals;
using boost::asio::use_future;
using Streaming = Boxes;

/// Everything `reader` has; the error as text when it fails.
std::string drain(FileReader& reader) {
  std::string all;
  for (;;) {
    auto piece = reader.read();
    if (!piece) return piece.error().to_string();
    if (piece->empty()) return all;
    all += as_text(*piece);
  }
}

TEST_F(Streaming, AWriterReplacesTheFileOnlyWhenFinished) {
  spill(at("f"), "old");
  const std::string text = pattern(3 << 20);
  {
    auto writer = box.fs().open_writer(at("f"));
    ASSERT_TRUE(writer);
    SANDBOX_EXPECT_OK(writer->write(text.substr(0, 1 << 20)));
    EXPECT_EQ(slurp(at("f")), "old");
  }
  EXPECT_EQ(slurp(at("f")), "old") << "destroyed before finish()";
  auto writer = box.fs().open_writer(at("f"));
  for (std::size_t at = 0; at < text.size(); at += 700'000) SANDBOX_EXPECT_OK(writer->write(std::string_view(text).substr(at, 700'000)));
  auto summary = writer->finish();
  ASSERT_TRUE(summary) << summary.error().to_string();
  EXPECT_EQ(summary->bytes, text.size());
  EXPECT_EQ(slurp(at("f")), text);
  SANDBOX_EXPECT_CODE(writer->write("more"), ErrorCode::failed_precondition);
}

TEST_F(Streaming, AReaderGoesAtItsOwnPace) {
  const std::string text = pattern(9 << 20);
  spill(at("f"), text);
  auto reader = box.fs().open_reader(at("f"));
  ASSERT_TRUE(reader);
  EXPECT_EQ(drain(*reader), text);
  EXPECT_TRUE(reader->read()->empty()) << "the end, again";
}

TEST_F(Streaming, WhatIsWrongWithThePathShowsWithTheFirstRead) {
  SANDBOX_EXPECT_CODE(box.fs().open_reader("relative"), ErrorCode::invalid_argument);
  auto reader = box.fs().open_reader(at("none"));
  ASSERT_TRUE(reader);
  SANDBOX_EXPECT_CODE(reader->read(), ErrorCode::not_found);
  SANDBOX_EXPECT_CODE(reader->read(), ErrorCode::not_found);
  auto writer = box.fs().open_writer(at("no/such/dir/f"));
  ASSERT_TRUE(writer);
  SANDBOX_EXPECT_CODE(writer->finish(), ErrorCode::not_found);
}

TEST_F(Streaming, ADirectoryTravelsAsTar) {
  SANDBOX_EXPECT_OK(box.fs().mkdir(at("tree/inner")));
  spill(at("tree/inner/f"), "content");
  auto reader = box.fs().open_tar_reader(at("tree"));
  SANDBOX_EXPECT_OK(box.fs().mkdir(at("copy")));
  auto writer = box.fs().open_tar_writer(at("copy"));
  for (;;) {
    auto piece = reader->read();
    ASSERT_TRUE(piece) << piece.error().to_string();
    if (piece->empty()) break;
    SANDBOX_EXPECT_OK(writer->write(*piece));
  }
  auto summary = writer->finish();
  ASSERT_TRUE(summary) << summary.error().to_string();
  EXPECT_GE(summary->entries, 2u);
  EXPECT_EQ(slurp(at("copy/inner/f")), "content");
}

TEST_F(Streaming, TheSameWithoutBlocking) {
  const std::string text = pattern(2'500'000);
  auto writer = box.fs().open_writer(at("f"));
  const auto bytes = as_bytes(text);
  SANDBOX_EXPECT_OK(get(writer->async_write(Bytes(bytes.begin(), bytes.end()), use_future)));
  EXPECT_EQ(get(writer->async_finish(use_future))->bytes, text.size());
  auto reader = box.fs().open_reader(at("f"));
  std::string back;
  for (;;) {
    auto piece = get(reader->async_read(use_future));
    ASSERT_TRUE(piece) << piece.error().to_string();
    if (piece->empty()) break;
    back += as_text(*piece);
  }
  EXPECT_EQ(back, text);
}

TEST_F(Streaming, EveryFileOperationHasAnAsynchronousForm) {
  Fs fs = box.fs();
  SANDBOX_EXPECT_OK(get(fs.async_mkdir(at("d"), use_future)));
  WriteOptions exclusive;
  exclusive.exclusive = true;
  SANDBOX_EXPECT_OK(get(fs.async_write(at("d/a"), Bytes(3), exclusive, use_future)));
  SANDBOX_EXPECT_CODE(get(fs.async_write(at("d/a"), Bytes(3), exclusive, use_future)), ErrorCode::already_exists);
  SANDBOX_EXPECT_OK(get(fs.async_rename(at("d/a"), at("d/b"), use_future)));
  EXPECT_EQ(*get(fs.async_copy(at("d/b"), at("d/c"), use_future)), 3u);
  SANDBOX_EXPECT_OK(get(fs.async_symlink("c", at("d/l"), use_future)));
  EXPECT_EQ(get(fs.async_lstat(at("d/l"), use_future))->target, "c");
  SANDBOX_EXPECT_OK(get(fs.async_chmod(at("d/c"), 0600, use_future)));
  EXPECT_EQ(get(fs.async_stat(at("d/c"), use_future))->mode, 0600u);
  EXPECT_EQ(get(fs.async_find(at("d"), "?", FindOptions(), use_future))->size(), 3u);
  SANDBOX_EXPECT_OK(get(fs.async_remove(at("d/b"), use_future)));
  SANDBOX_EXPECT_CODE(get(fs.async_remove(at("d"), use_future)), ErrorCode::failed_precondition);
  auto watch = get(fs.async_watch(at("d"), true, use_future));
  ASSERT_TRUE(watch) << watch.error().to_string();
  spill(at("d/new"), "x");
  EXPECT_EQ(get(watch->async_next(use_future))->path, at("d/new"));
  SANDBOX_EXPECT_OK(get(box.env().async_set("K", "v", use_future)));
  SANDBOX_EXPECT_OK(get(box.env().async_unset("K", use_future)));
  EXPECT_EQ(*get(box.env().async_get("K", use_future)), std::nullopt);
  SANDBOX_EXPECT_OK(get(box.env().async_list(use_future)));
}

}  // namespace
}  // namespace sandbox::api::test

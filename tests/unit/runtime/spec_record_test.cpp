#include "runtime/spec_record.hpp"

#include <gtest/gtest.h>

#include <vector>

#include "support/failure.hpp"

namespace sandbox::runtime {
namespace {

using namespace sandbox::literals;

TEST(SpecRecord, EveryFieldComesBack) {
  const std::vector<SandboxSpec> specs = {
      SandboxSpec(),
      SandboxSpec().image(Image::directory("/x")),
      SandboxSpec().image(Image::tar("/x")),
      SandboxSpec().image(Image::from_template("tpl-1")),
      SandboxSpec().limits(Limits().memory(64_MiB).cpus(0.37).pids(7).open_files(77).disk(1_MiB).inodes(9)),
      SandboxSpec().network(Network::bridge),
      SandboxSpec().env("A", "B").env("", "x").env("A", ""),
      SandboxSpec().workdir("/tmp").hostname("other").backend("other").user("alice"),
      SandboxSpec().writable_root(),
      SandboxSpec().sealed(),
      SandboxSpec().allow(allow::unenforced_limits{}),
  };
  for (const SandboxSpec& spec : specs) {
    const auto back = decode_spec(encode_spec(spec));
    ASSERT_TRUE(back) << back.error().to_string();
    EXPECT_TRUE(*back == spec);
  }
}

TEST(SpecRecord, GarbageIsRefused) {
  const std::string record = encode_record("sbx-1", encode_spec(SandboxSpec().env("A", "B")), "mine");
  const auto good = decode_record(record);
  ASSERT_TRUE(good);
  EXPECT_EQ(good->id, "sbx-1");
  EXPECT_EQ(good->note, "mine");
  EXPECT_TRUE(decode_spec(good->spec));
  EXPECT_EQ(sandbox::testing::failure(decode_record("")), ErrorCode::protocol);
  EXPECT_EQ(sandbox::testing::failure(decode_record("\xff\xff\xff")), ErrorCode::protocol);
  for (std::size_t size = 0; size < record.size(); ++size) {
    const auto cut = decode_record(std::string_view(record).substr(0, size));
    if (cut) {
      EXPECT_NE(encode_record(cut->id, cut->spec, cut->note), record);
    } else {
      cut.error().ignore("most cuts are refused");
    }
  }
  EXPECT_EQ(sandbox::testing::failure(decode_record(encode_record("", "x", ""))), ErrorCode::protocol);
  EXPECT_EQ(sandbox::testing::failure(decode_spec("\x08\x63")), ErrorCode::protocol);  // an image of kind 99
}

}  // namespace
}  // namespace sandbox::runtime

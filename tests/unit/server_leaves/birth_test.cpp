#include "server/birth.hpp"

#include <gtest/gtest.h>

#include "support/failure.hpp"

namespace sandbox::server {
namespace {

using namespace std::chrono_literals;

Birth example() {
  Birth birth;
  birth.node = "n1";
  birth.record.identity = "acme";
  birth.record.profile = "default";
  birth.record.template_id = "tpl-1";
  birth.record.image = "host";
  birth.record.labels = {{"a", "b"}, {"empty", ""}};
  birth.record.ttl = 3600s;
  birth.record.created = WallTime(1767225600123456us);
  return birth;
}

TEST(Birth, EverythingComesBack) {
  for (const Birth& birth : {Birth{}, example()}) {
    const auto back = decode_birth(encode_birth(birth));
    ASSERT_TRUE(back) << back.error().to_string();
    EXPECT_EQ(back->node, birth.node);
    EXPECT_EQ(back->record, birth.record);
  }
}

TEST(Birth, ARecordOfSomebodyElseIsRefused) {
  EXPECT_EQ(sandbox::testing::failure(decode_birth("")), ErrorCode::protocol);
  EXPECT_EQ(sandbox::testing::failure(decode_birth("\xff\xff\xff")), ErrorCode::protocol);
  const std::string whole = encode_birth(example());
  for (std::size_t size = 0; size < whole.size(); ++size) {
    const auto cut = decode_birth(std::string_view(whole).substr(0, size));
    if (cut) {
      EXPECT_NE(encode_birth(*cut), whole);
    } else {
      cut.error().ignore("most cuts are refused");
    }
  }
  EXPECT_EQ(sandbox::testing::failure(decode_birth(std::string("\x08\x02", 2))), ErrorCode::protocol);                               // another version
  EXPECT_EQ(sandbox::testing::failure(decode_birth("\x08\x01\x48\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01")), ErrorCode::protocol);  // made in the year 586524
  EXPECT_EQ(sandbox::testing::failure(decode_birth("\x08\x01\x40\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01")), ErrorCode::protocol);  // a ttl of 2^64 - 1 s
}

}  // namespace
}  // namespace sandbox::server

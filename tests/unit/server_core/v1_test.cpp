#include <gtest/gtest.h>

#include <utility>
#include <vector>

#include "server/relay.hpp"

namespace sandbox::server {
namespace {

ByteView view(const std::string& text) { return {reinterpret_cast<const std::byte*>(text.data()), text.size()}; }
std::string frame(V1Kind kind, const std::string& payload) {
  const auto header = v1_header(kind, payload.size());
  return std::string(reinterpret_cast<const char*>(header.data()), header.size()) + payload;
}

TEST(V1Frames, ComeWholeWhateverThePieces) {
  const std::string big(300'000, 'b');
  const std::string stream = frame(V1Kind::text, "{}") + frame(V1Kind::binary, "") + frame(V1Kind::binary, big) + frame(V1Kind::text, "x");
  for (const std::size_t piece : {std::size_t{1}, std::size_t{3}, std::size_t{7}, std::size_t{65536}, stream.size()}) {
    V1FrameReader reader;
    std::vector<std::pair<V1Kind, std::string>> frames;
    for (std::size_t at = 0; at < stream.size(); at += piece) {
      const auto fed = reader.feed(view(stream).subspan(at, std::min(piece, stream.size() - at)),
                                   [&](V1Kind kind, std::string&& payload) { frames.emplace_back(kind, std::move(payload)); });
      ASSERT_TRUE(fed);
    }
    ASSERT_EQ(frames.size(), 4u) << piece;
    EXPECT_EQ(frames[0], std::make_pair(V1Kind::text, std::string("{}")));
    EXPECT_EQ(frames[1], std::make_pair(V1Kind::binary, std::string()));
    EXPECT_EQ(frames[2].second, big);
    EXPECT_EQ(frames[3].second, "x");
  }
}

TEST(V1Frames, AreBoundedBeforeAnythingIsStored) {
  const auto header = v1_header(V1Kind::binary, kV1MaxFrame + 1);
  V1FrameReader reader;
  const auto fed = reader.feed(header, [](V1Kind, std::string&&) { FAIL(); });
  ASSERT_FALSE(fed);
  EXPECT_EQ(fed.error().code(), ErrorCode::protocol);
}

TEST(V1Frames, OfUnknownKindsAreSkipped) {
  V1FrameReader reader;
  int count = 0;
  const std::string stream = frame(static_cast<V1Kind>(3), "p") + frame(V1Kind::text, "t");
  ASSERT_TRUE(reader.feed(view(stream), [&](V1Kind, std::string&& payload) {
    ++count;
    EXPECT_EQ(payload, "t");
  }));
  EXPECT_EQ(count, 1);
}

TEST(TemplateSave, IsFoundByItsMethodOnly) {
  const auto plain = find_template_save(R"({"jsonrpc":"2.0","id":7,"method":"template.save","params":{"label":"x"}})");
  ASSERT_TRUE(plain);
  EXPECT_EQ(plain->id, "7");
  EXPECT_EQ(plain->label, "x");
  const auto sealed = find_template_save(R"({"id":"a\"b","method":"template.save","params":{"_encrypted":"AAEC"}})");
  ASSERT_TRUE(sealed);
  EXPECT_EQ(sealed->id, R"("a\"b")");
  EXPECT_EQ(sealed->label, "");
  EXPECT_TRUE(find_template_save(R"({"id":1,"method":"template.save"})"));
  EXPECT_FALSE(find_template_save(R"({"id":1,"method":"process.exec","params":{"command":"echo template.save"}})"));
  EXPECT_FALSE(find_template_save(R"({"method":"template.save"})"));
  EXPECT_FALSE(find_template_save(R"([{"id":1,"method":"template.save"}])"));
  EXPECT_FALSE(find_template_save("template.save"));
}

}  // namespace
}  // namespace sandbox::server

#include <gtest/gtest.h>

#include "rest/rest.hpp"
#include "support/failure.hpp"

namespace sandbox::rest {
namespace {

SandboxSpec full_spec() {
  return SandboxSpec()
      .image(Image::directory("/srv/rootfs"))
      .limits(Limits().memory(64_MiB).cpus(0.25).pids(7).open_files(99).disk(3_MiB).inodes(1234))
      .network(Network::bridge)
      .env("Z", "last \"quoted\"\n")
      .env("A", "")
      .workdir("/tmp/x")
      .hostname("box")
      .writable_root()
      .backend("fake")
      .user("acme")
      .sealed()
      .allow(allow::unenforced_limits());
}

TEST(RestSpec, ComesBackAsItWasInEveryField) {
  EXPECT_EQ(read_spec(write(full_spec())).value(), full_spec());
  EXPECT_EQ(read_spec(write(SandboxSpec())).value(), SandboxSpec());
  for (const Image& image : {Image::host(), Image::from_template("tpl-0123456789abcdef"), Image::tar("/a b.tar"), Image::directory("/d")})
    EXPECT_EQ(read_spec(write(SandboxSpec().image(image))).value().image(), image);
}

TEST(RestSpec, HasDefaultsForWhatIsAbsentOrNull) {
  EXPECT_EQ(read_spec("{}").value(), SandboxSpec());
  EXPECT_EQ(read_spec("null").value(), SandboxSpec());
  EXPECT_EQ(read_spec(R"({"image":null,"limits":null,"env":null,"workdir":null,"sealed":null})").value(), SandboxSpec());
}

TEST(RestSpec, TakesSizesAsTextsAndTemplatesByName) {
  const auto spec = read_spec(R"({"limits":{"Memory":"64m","disk":1048576},"image":"tpl-12345678"})").value();
  EXPECT_EQ(spec.limits().memory(), 64_MiB);
  EXPECT_EQ(spec.limits().disk(), 1_MiB);
  EXPECT_EQ(spec.image(), Image::from_template("tpl-12345678"));
}

TEST(RestSpec, SaysWhichKeyIsWrong) {
  for (const auto& [json, key] : std::vector<std::pair<const char*, const char*>>{
           {R"({"limits":{"pids":-1}})", "pids"},
           {R"({"limits":{"pids":4294967296}})", "pids"},
           {R"({"limits":{"pids":1.5}})", "pids"},
           {R"({"limits":{"memory":"much"}})", "memory"},
           {R"({"limits":3})", "limits"},
           {R"({"network":"host"})", "network"},
           {R"({"image":"/etc"})", "image"},
           {R"({"image":{"directory":""}})", "directory"},
           {R"({"image":{"directory":"a\u0000b"}})", "directory"},
           {R"({"image":{}})", "image"},
           {R"({"env":{"A":1}})", "A"},
           {R"({"env":{"A":"1","A":"2"}})", "A"},
           {R"({"sealed":"yes"})", "sealed"},
           {R"({"workdir":[]})", "workdir"}}) {
    const auto spec = read_spec(json);
    ASSERT_FALSE(spec) << json;
    EXPECT_EQ(spec.error().code(), ErrorCode::invalid_argument) << json;
    EXPECT_NE(spec.error().message().find(key), std::string::npos) << spec.error().message();
  }
}

TEST(RestSpec, WritesTheLastOfEqualEnvironmentNames) {
  const auto spec = read_spec(write(SandboxSpec().env("A", "1").env("B", "2").env("A", "3"))).value();
  EXPECT_EQ(spec.env(), (std::vector<std::pair<std::string, std::string>>{{"B", "2"}, {"A", "3"}}));
}

TEST(RestCreate, ReadsWhatAnOldClientSends) {
  const auto body = read_create(R"({"TTL":60,"Profile":"default","labels":{"a":"b"},"cpu":2,"memory":"1g","x":[{}]} trailing words)");
  ASSERT_TRUE(body) << body.error().to_string();
  EXPECT_EQ(body->ttl, 60);
  EXPECT_EQ(body->profile, "default");
  EXPECT_EQ(body->labels, (Labels{{"a", "b"}}));
  EXPECT_EQ(body->cpu, 2.0);
  EXPECT_EQ(body->memory, "1g");
  EXPECT_FALSE(body->template_id || body->storage || body->spec);
}

TEST(RestCreate, ReadsWhatOurClientSends) {
  const auto request = CreateRequest().profile("p").from_template("tpl-1").memory(1_GiB).cpus(0.5).storage(2_MiB)
                           .ttl(std::chrono::seconds(9)).label("k", "v").spec(full_spec());
  const auto body = read_create(write(request)).value();
  EXPECT_EQ(body.profile, "p");
  EXPECT_EQ(body.template_id, "tpl-1");
  EXPECT_EQ(read_size(*body.memory).value(), 1_GiB);
  EXPECT_EQ(body.cpu, 0.5);
  EXPECT_EQ(read_size(*body.storage).value(), 2_MiB);
  EXPECT_EQ(body.ttl, 9);
  EXPECT_EQ(body.labels, (Labels{{"k", "v"}}));
  EXPECT_EQ(body.spec, full_spec());
  EXPECT_EQ(write(CreateRequest()), "{}");
}

TEST(RestCreate, RefusesWhatIsNoRequest) {
  for (const char* json : {"", "   ", "{", "[]", "3", "\"x\"", "nul", R"({"ttl":"60"})", R"({"ttl":1.0})", R"({"ttl":9223372036854775808})",
                           R"({"labels":{"a":1}})", R"({"labels":[]})", R"({"cpu":"2"})", "{\"profile\":\"\xff\"}", R"({"profile":"\ud800"})"}) {
    const auto body = read_create(json);
    ASSERT_FALSE(body) << json;
    EXPECT_EQ(body.error().code(), ErrorCode::invalid_argument) << json;
  }
  EXPECT_TRUE(read_create("null")) << "acts like {}";
}

TEST(RestCreate, RefusesDeepNestingEverywhere) {
  const std::string deep = R"({"x":)" + std::string(100000, '[') + std::string(100000, ']') + "}";
  EXPECT_EQ(sandbox::testing::failure(read_create(deep)), ErrorCode::invalid_argument);
  EXPECT_TRUE(read_create(R"({"x":[[[[[[[[]]]]]]]]})"));
}

}  // namespace
}  // namespace sandbox::rest

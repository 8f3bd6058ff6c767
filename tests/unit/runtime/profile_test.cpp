#include "runtime/profile.hpp"

#include <gtest/gtest.h>

#include <set>

namespace sandbox::runtime {
namespace {

using namespace sandbox::literals;

TEST(ProfileKey, EqualSpecsHaveEqualKeys) {
  EXPECT_EQ(profile_key(SandboxSpec()), profile_key(SandboxSpec()));
  EXPECT_EQ(profile_key(SandboxSpec().env("A", "b").user("u")), profile_key(SandboxSpec().env("A", "b").user("u")));
}

TEST(ProfileKey, EveryFieldMakesAnotherKey) {
  const std::vector<SandboxSpec> specs = {
      SandboxSpec(),
      SandboxSpec().image(Image::directory("/x")),
      SandboxSpec().image(Image::tar("/x")),
      SandboxSpec().image(Image::from_template("/x")),
      SandboxSpec().limits(Limits().memory(64_MiB)),
      SandboxSpec().limits(Limits().cpus(0.5)),
      SandboxSpec().limits(Limits().pids(7)),
      SandboxSpec().limits(Limits().open_files(77)),
      SandboxSpec().limits(Limits().disk(1_MiB)),
      SandboxSpec().limits(Limits().inodes(9)),
      SandboxSpec().network(Network::bridge),
      SandboxSpec().env("A", "B"),
      SandboxSpec().env("AB", ""),
      SandboxSpec().env("A", "").env("B", ""),
      SandboxSpec().workdir("/tmp"),
      SandboxSpec().hostname("other"),
      SandboxSpec().writable_root(),
      SandboxSpec().backend("other"),
      SandboxSpec().user("alice"),
      SandboxSpec().user("bob"),
      SandboxSpec().sealed(),
      SandboxSpec().allow(allow::unenforced_limits{}),
  };
  std::set<std::string> keys;
  for (const SandboxSpec& spec : specs) keys.insert(profile_key(spec));
  EXPECT_EQ(keys.size(), specs.size());
}

TEST(ProfileKey, StringsCannotRunIntoEachOther) {
  EXPECT_NE(profile_key(SandboxSpec().workdir("/a").hostname("b1:c")), profile_key(SandboxSpec().workdir("/a1:b").hostname("c")));
}

// A field added to these classes changes their size: it must be added to profile_key() and to the list above.
TEST(ProfileKey, KnowsEveryFieldOfASpec) {
  EXPECT_EQ(sizeof(Limits), 40u);
  EXPECT_EQ(sizeof(SandboxSpec), sizeof(Image) + sizeof(Limits) + 8 + sizeof(std::vector<int>) + 2 * sizeof(std::string) + 8 +
                                     2 * sizeof(std::string) + 8);
}

TEST(Validate, RefusesWhatCannotBeMeant) {
  EXPECT_TRUE(validate(SandboxSpec()));
  const std::vector<SandboxSpec> bad = {
      SandboxSpec().limits(Limits().memory(1_MiB)),    SandboxSpec().limits(Limits().cpus(0)),
      SandboxSpec().limits(Limits().cpus(-1)),         SandboxSpec().limits(Limits().cpus(0.0 / 0.0)),
      SandboxSpec().limits(Limits().pids(0)),          SandboxSpec().limits(Limits().open_files(0)),
      SandboxSpec().limits(Limits().disk(ByteCount())), SandboxSpec().limits(Limits().inodes(0)),
      SandboxSpec().env("", "x"),                      SandboxSpec().env("A=B", "x"),
      SandboxSpec().env(std::string("A\0B", 3), "x"),  SandboxSpec().env("A", std::string("\0", 1)),
      SandboxSpec().workdir("relative"),               SandboxSpec().hostname(""),
      SandboxSpec().hostname("two words"),             SandboxSpec().hostname(std::string(64, 'a')),
  };
  for (const SandboxSpec& spec : bad) {
    auto result = validate(spec);
    ASSERT_FALSE(result) << profile_key(spec);
    EXPECT_EQ(result.error().code(), ErrorCode::invalid_argument);
  }
}

}  // namespace
}  // namespace sandbox::runtime

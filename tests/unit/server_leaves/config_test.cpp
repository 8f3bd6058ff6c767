#include "server/config.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

using namespace sandbox;
using namespace sandbox::server;
using namespace std::chrono_literals;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

namespace {

std::optional<std::string> nothing(std::string_view) { return std::nullopt; }

LoadedConfig parse(std::string_view text, const Environment& environment = nothing) {
  return parse_config(text, "c.toml", environment);
}

std::vector<std::string> texts(const std::vector<Diagnostic>& all) {
  std::vector<std::string> lines;
  for (const Diagnostic& one : all) lines.push_back(one.to_string());
  return lines;
}

/// What is wrong with a file, or nothing.
std::vector<std::string> errors(std::string_view text) { return texts(parse(text).errors); }

TEST(Config, AnEmptyFileIsTheDefaults) {
  const LoadedConfig loaded = parse("");
  EXPECT_TRUE(loaded.ok());
  EXPECT_THAT(loaded.warnings, IsEmpty());
  EXPECT_EQ(loaded.config, Config());
  EXPECT_EQ(loaded.config.limits.max_memory, 4294967296u);
  EXPECT_EQ(loaded.config.pool.base.at("default").memory, "512m");
}

TEST(Config, ReadsEveryKey) {
  const LoadedConfig loaded = parse(R"(
[server]
socket = "/tmp/s"
tcp = "127.0.0.1:7522"
data_dir = "/d"
node_id = "n1"
tokens = ["0123456789abcdef"]
allow_unauthenticated = true
require_proof = "/proof"
header_timeout = "5s"
idle_timeout = "1m30s"
max_connections = 7
[multi_tenant]
public_keys = ["A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg="]
require_nonce = true
[limits]
max_sandboxes = 1
max_memory = "1g"
max_cpu = 2
max_ttl = 60
max_templates = 3
max_template_size = 1000
template_expiry_days = 0
create_rate_limit = 200
rate_limit_entries = 5
max_tunnels = 6
max_connections_per_tunnel = 0
tunnel_bind_address = "0.0.0.0"
tunnel_port_min = 10000
tunnel_port_max = 10010
allow_host_paths = true
resume_grace = "10s"
[pool]
total_warm = 4
min_per_image = 1
min_base = 0
max_warm = 8
rebalance_window = "2h"
health_interval = "1s"
liveness_timeout = "7ms"
[pool.base.fat]
image = "directory:/srv/image"
memory = "900M"
cpu = 1.5
storage = "1g"
runtime = "native"
network = "none"
writable_root = true
[log]
level = "debug"
format = "text"
)");
  EXPECT_THAT(texts(loaded.errors), IsEmpty());
  EXPECT_THAT(texts(loaded.warnings), IsEmpty());
  Config expected;
  expected.server = {"/tmp/s", "127.0.0.1:7522", "", "", "/d", "n1", loaded.config.server.tokens, "", true, false, "/proof", 5s, 90s, 7};
  expected.multi_tenant = {false, loaded.config.multi_tenant.public_keys, true};
  expected.limits = {1, 1u << 30, 2, 60s, 3, 1000, 0, 200, 5, 6, 0, "0.0.0.0", 10000, 10010, true, 10s};
  expected.pool.total_warm = 4;
  expected.pool.min_per_image = 1;
  expected.pool.min_base = 0;
  expected.pool.max_warm = 8;
  expected.pool.rebalance_window = 2h;
  expected.pool.health_interval = 1s;
  expected.pool.liveness_timeout = 7ms;
  expected.pool.base["fat"] = {"directory:/srv/image", "900M", 1.5, "1g", "native", "none", true, 900u << 20, 1u << 30};
  expected.log = {LogLevel::debug, false};
  EXPECT_EQ(loaded.config, expected);
  EXPECT_EQ(loaded.config.server.tokens.size(), 1u);
  EXPECT_EQ(loaded.config.multi_tenant.public_keys.at(0)[0], 0x03);
  EXPECT_EQ(loaded.config.pool.base.count("default"), 1u) << "the built-in profile stays";
}

TEST(Config, UnknownKeysAreWarningsWithTheirPlace) {
  const LoadedConfig loaded = parse("socket = \"/x\"\n[pool]\ntotl_warm = 3\n[pool.base.a]\nmemroy = \"1g\"\n[zzz]\na.b = 1\n[server]\nqqqqqq = 1\n");
  EXPECT_TRUE(loaded.ok());
  EXPECT_THAT(texts(loaded.warnings), ::testing::UnorderedElementsAre(
                                          "c.toml:1:1: unknown key socket; did you mean server.socket?",
                                          "c.toml:3:1: unknown key pool.totl_warm; did you mean total_warm?",
                                          "c.toml:5:1: unknown key pool.base.a.memroy; did you mean memory?",
                                          "c.toml:7:3: unknown key zzz.a.b", "c.toml:9:1: unknown key server.qqqqqq"));
}

TEST(Config, ReportsEveryErrorWithItsPlace) {
  EXPECT_THAT(errors("[server]\nsocket = 3\n[limits]\n  max_ttl = \"1h\"\nmax_cpu = true\nmax_memory = \"4x\"\n"),
              ElementsAre("c.toml:2:1: server.socket must be a string", "c.toml:4:3: limits.max_ttl must be an integer",
                          "c.toml:5:1: limits.max_cpu must be a number", "c.toml:6:1: limits.max_memory must be a size like \"512m\""));
  const auto broken = errors("[server\nsocket = 3\n");
  ASSERT_EQ(broken.size(), 1u);
  EXPECT_EQ(broken[0].find("c.toml:1:"), 0u) << broken[0];
  EXPECT_THAT(errors("server = 3\n"), ElementsAre("c.toml:1:1: server must be a table"));
  EXPECT_THAT(errors("[pool]\nbase = 3\n"), ElementsAre("c.toml:2:1: pool.base must be a table of profiles"));
}

TEST(Config, SaysWhatTheSpecificationSays) {
  const auto one = [](std::string_view text, std::string_view expected) {
    const LoadedConfig loaded = parse(text);
    ASSERT_EQ(loaded.errors.size(), 1u) << text;
    EXPECT_EQ(loaded.errors[0].text, expected);
  };
  one("[server]\nsocket = \"\"", "server.socket is required");
  one("[multi_tenant]\nenabled = true", "multi_tenant.public_keys requires at least one key when enabled");
  one("[server]\ntls_cert = \"/x\"", "server.tls_cert and server.tls_key must both be set or both be empty");
  one("[limits]\nmax_sandboxes = 0", "limits.max_sandboxes must be positive");
  one("[limits]\nmax_sandboxes = -1", "limits.max_sandboxes must be positive");
  one("[pool]\ntotal_warm = -1", "pool.total_warm must be non-negative");
  one("[pool]\ntotal_warm = 61", "pool.max_warm must be >= pool.total_warm");
  one("[limits]\ntunnel_port_min = -5", "tunnel port range values must be non-negative");
  one("[limits]\ntunnel_port_min = 20\ntunnel_port_max = 10", "tunnel_port_min must be <= tunnel_port_max");
  one("[multi_tenant]\nenabled = true\npublic_keys = [\"A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg=\", \"AAAA\"]",
      "multi_tenant.public_keys: entry 2 is not a public key (base64 of 32 bytes)");
}

TEST(Config, ProfilesOfOtherSystemsAreRefusedNotReplaced) {
  EXPECT_THAT(errors("[pool.base.a]\nruntime = \"docker+gvisor\"\n"),
              ElementsAre("c.toml:2:1: pool.base.a.runtime \"docker+gvisor\" is not available: this daemon has native"));
  EXPECT_EQ(errors("[pool.base.a]\nimage = \"ghcr.io/x:latest\"\n").size(), 1u);
  EXPECT_EQ(errors("[pool.base.a]\nimage = \"directory:relative\"\n").size(), 1u);
  EXPECT_EQ(errors("[pool.base.a]\nnetwork = \"host\"\nmemory = \"1m\"\nstorage = \"0\"\n").size(), 3u);
  EXPECT_EQ(errors("[pool.base.\"a/b\"]\n").size(), 1u);
}

TEST(Config, NobodyListensToTheNetworkUnasked) {
  EXPECT_EQ(errors("[server]\ntcp = \"0.0.0.0:7522\"").size(), 1u);
  EXPECT_EQ(errors("[server]\ntcp = \":7522\"").size(), 1u);
  EXPECT_EQ(errors("[server]\ntcp = \"127.example.org:7522\"").size(), 1u);
  EXPECT_THAT(errors("[server]\ntcp = \"127.0.0.1:7522\""), IsEmpty());
  EXPECT_THAT(errors("[server]\ntcp = \"localhost:7522\""), IsEmpty());
  EXPECT_THAT(errors("[server]\ntcp = \"0.0.0.0:7522\"\nallow_unauthenticated = true"), IsEmpty());
  EXPECT_THAT(errors("[server]\ntcp = \"0.0.0.0:7522\"\ntokens = [\"0123456789abcdef\"]"), IsEmpty());
  EXPECT_EQ(errors("[server]\ntcp = \"nonsense\"").size(), 1u);
}

TEST(Config, TheEnvironmentComesLast) {
  const LoadedConfig loaded = parse("[server]\nsocket = \"/file\"\ndata_dir = \"/file\"", [](std::string_view name) -> std::optional<std::string> {
    if (name == "SANDBOX_SOCKET") return "/env";
    if (name == "SANDBOX_TCP") return "127.0.0.1:1";
    if (name == "SANDBOX_DATA_DIR") return "";
    return std::nullopt;
  });
  EXPECT_EQ(loaded.config.server.socket, "/env");
  EXPECT_EQ(loaded.config.server.tcp, "127.0.0.1:1");
  EXPECT_EQ(loaded.config.server.data_dir, "/file");
}

TEST(Config, BadDurationsOfThePoolFallBack) {
  const LoadedConfig loaded = parse("[pool]\nhealth_interval = \"soon\"\nliveness_timeout = \"-5ms\"");
  EXPECT_TRUE(loaded.ok());
  EXPECT_EQ(loaded.warnings.size(), 2u);
  EXPECT_EQ(loaded.config.pool.health_interval, 10s);
  EXPECT_EQ(loaded.config.pool.liveness_timeout, 5ms);
  EXPECT_EQ(errors("[server]\nidle_timeout = \"soon\"").size(), 1u) << "ours do not";
}

TEST(Config, TokensComeFromAFileTooAndAreNeverShown) {
  const std::string path = ::testing::TempDir() + "tokens." + std::to_string(::getpid());
  std::ofstream(path) << "# ours\n\n  0123456789abcdef \nsha256:" << std::string(64, 'a') << "\nsecret\n";
  const LoadedConfig loaded = parse("[server]\ntoken_file = \"" + path + "\"\ntokens = [\"hush\"]\n");
  EXPECT_THAT(texts(loaded.errors), ElementsAre("c.toml:2:1: server.token_file: line 5 is not a token",
                                                "c.toml:3:1: server.tokens: entry 1 is not a token (at least 16 characters, or "
                                                "sha256: and 64 hexadecimal digits)"));
  EXPECT_EQ(loaded.config.server.tokens.size(), 2u);
  std::filesystem::remove(path);
  EXPECT_EQ(errors("[server]\ntoken_file = \"" + path + "\"").size(), 1u);
}

TEST(Config, FilesThatCannotBeReadAreErrors) {
  EXPECT_FALSE(load_config("/nonexistent/c.toml", nothing).ok());
  EXPECT_FALSE(load_config("/", nothing).ok());
  EXPECT_TRUE(load_config("", nothing).ok());
  EXPECT_FALSE(parse(std::string((1 << 20) + 1, '#')).ok());
}

TEST(Config, TextOfTheFileIsEscapedInDiagnostics) {
  for (const std::string& line : texts(parse("[server]\n\"a\\u001b[2J\" = 1\n").warnings)) EXPECT_EQ(line.find('\x1b'), line.npos);
}

TEST(ConfigChanges, SayWhatNeedsARestart) {
  Config from, to;
  EXPECT_TRUE(changes(from, to).empty());
  to.limits.max_ttl = 5s;
  to.server.tcp = "127.0.0.1:1";
  to.pool.base["default"].cpu = 2;
  to.pool.base["new"] = ProfileConfig();
  from.pool.base["old"] = ProfileConfig();
  std::map<std::string, bool> found;
  for (const ConfigChange& change : changes(from, to)) found[change.key] = change.live;
  EXPECT_EQ(found, (std::map<std::string, bool>{{"limits.max_ttl", true}, {"server.tcp", false}, {"pool.base.default", true},
                                                {"pool.base.new", true}, {"pool.base.old", true}}));
}

TEST(Size, IsDigitsAndASuffix) {
  EXPECT_EQ(parse_size("512m"), 512u << 20);
  EXPECT_EQ(parse_size(" 1G "), 1u << 30);
  EXPECT_EQ(parse_size("0"), 0u);
  EXPECT_EQ(parse_size("4096"), 4096u);
  EXPECT_EQ(parse_size("1t"), 1ull << 40);
  for (const char* bad : {"", " ", "m", "1.5g", "-1", "+1", "1mb", "1 m m", "0x10", "18446744073709551616", "16777216t"}) EXPECT_FALSE(parse_size(bad)) << bad;
}

TEST(Duration, IsGoSyntax) {
  EXPECT_EQ(parse_duration("1h30m"), 90min);
  EXPECT_EQ(parse_duration("5ms"), 5ms);
  EXPECT_EQ(parse_duration("1.5s"), 1500ms);
  EXPECT_EQ(parse_duration("-2us"), -2us);
  EXPECT_EQ(parse_duration("2\xC2\xB5s"), 2us);
  EXPECT_EQ(parse_duration("0"), 0s);
  EXPECT_EQ(parse_duration("1m0s"), 1min);
  for (const char* bad : {"", "5", "s", "1d", "1 s", "..s", "1..5s", "-", "9999999999h", "1s2", "1e3s"}) EXPECT_FALSE(parse_duration(bad)) << bad;
}

TEST(HostPort, Reads) {
  const auto read = [](std::string_view text) {
    const auto found = parse_host_port(text);
    return found ? found->host + "|" + std::to_string(found->port) : "";
  };
  EXPECT_EQ(read("10.0.0.1:80"), "10.0.0.1|80");
  EXPECT_EQ(read("[::1]:80"), "::1|80");
  EXPECT_EQ(read(":80"), "|80");
  for (const char* bad : {"", "80", "::1:80", "a:b", "a:65536", "a:-1", "a b:1", "[::1:80"}) EXPECT_EQ(read(bad), "") << bad;
  EXPECT_TRUE(is_loopback("127.0.0.2"));
  EXPECT_FALSE(is_loopback(""));
  EXPECT_FALSE(is_loopback("0.0.0.0"));
}

}  // namespace

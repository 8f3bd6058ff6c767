#include <arpa/inet.h>
#include <signal.h>
#include <sys/socket.h>

#include <filesystem>
#include <fstream>

#include "live_client.hpp"
#include "support/certificate.hpp"
#include "support/eventually.hpp"

// A daemon on TCP with TLS and bearer tokens, as one on another machine.
namespace sandbox::testing {
namespace {

constexpr const char* kToken = "0123456789abcdef-token";

/// A port that was free a moment ago.
std::uint16_t free_port() {
  const int probe = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  const bool bound = ::bind(probe, reinterpret_cast<sockaddr*>(&address), size) == 0 &&
                     ::getsockname(probe, reinterpret_cast<sockaddr*>(&address), &size) == 0;
  ::close(probe);
  return bound ? ntohs(address.sin_port) : 0;
}

class OverTls : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    files_ = std::make_unique<StateDirectory>();
    make_certificate(certificate(), files_->path() + "/key.pem");
    port_ = free_port();
    DaemonProcess::Options options;
    options.section_server = "tcp = \"127.0.0.1:" + std::to_string(port_) + "\"\ntls_cert = \"" + certificate() + "\"\ntls_key = \"" +
                             files_->path() + "/key.pem\"\ntokens = [\"" + kToken + "\"]\n";
    daemon_ = std::make_unique<DaemonProcess>(options);
  }
  static void TearDownTestSuite() {
    daemon_.reset();
    files_.reset();
  }
  static std::string certificate() { return files_->path() + "/cert.pem"; }
  static std::string authority() { return "127.0.0.1:" + std::to_string(port_); }

  inline static std::unique_ptr<StateDirectory> files_;
  inline static std::unique_ptr<DaemonProcess> daemon_;
  inline static std::uint16_t port_ = 0;
};

TEST_F(OverTls, EverythingWorksAsOverASocket) {
  auto client = Client::connect("https://" + authority(), ClientOptions().token(kToken).ca_file(certificate()));
  ASSERT_TRUE(client) << client.error().to_string() << daemon_->log();
  for (const bool sealed : {false, true}) {
    CreateRequest wanted;
    wanted.sealed(sealed);
    Sandbox b = client->create(wanted).value();
    const std::string content(3 << 20, 'x');
    EXPECT_OK(b.fs().write("/root/f", content));
    EXPECT_EQ(b.fs().read_text("/root/f").value(), content);
    RunningProcess shell = b.process().spawn(Command("cat").open_stdin()).value();
    EXPECT_OK(shell.write("over TLS"));
    EXPECT_OK(shell.close_stdin());
    std::string seen;
    for (;;) {
      auto piece = shell.read().value();
      if (!piece) break;
      seen += piece->text();
    }
    EXPECT_EQ(seen, "over TLS");
    EXPECT_OK(b.close());
  }
  EventStream events = client->events().value();
  const Sandbox b = client->create().value();
  const auto event = events.next().value();
  ASSERT_TRUE(event);
  EXPECT_EQ(event->sandbox_id, b.id());
}

TEST_F(OverTls, WhoeverIsNotKnownIsRefused) {
  const auto with = ClientOptions().ca_file(certificate());
  auto none = Client::connect("https://" + authority(), with);
  // /health tells anybody that the daemon lives, and nothing more.
  if (none) EXPECT_CODE(ErrorCode::unauthenticated, none->list());
  else EXPECT_EQ(none.error().code(), ErrorCode::unauthenticated);
  auto wrong = Client::connect("https://" + authority(), ClientOptions(with).token("0123456789abcdef-tokem"));
  if (wrong) EXPECT_CODE(ErrorCode::unauthenticated, wrong->list());
  else EXPECT_EQ(wrong.error().code(), ErrorCode::unauthenticated);
}

TEST_F(OverTls, WhomItDoesNotTrustItTellsNothing) {
  EXPECT_CODE(ErrorCode::unauthenticated, Client::connect("https://" + authority(), ClientOptions().token(kToken)));
  const auto plain = Client::connect("http://" + authority(), ClientOptions().token(kToken).timeout(5s));
  ASSERT_FALSE(plain);
  EXPECT_NE(plain.error().code(), ErrorCode::internal) << plain.error().to_string();
}

/// A daemon whose certificate is replaced under it.
class NewCertificate : public ::testing::Test {
 protected:
  void SetUp() override {
    for (const char* name : {"first", "second", "third"}) make_certificate(file(name) + ".cert", file(name) + ".key");
    std::filesystem::create_directory(file("a"));
    std::filesystem::create_directory_symlink(file("a"), file("current"));
    put("first", "first");
    port_ = free_port();
    DaemonProcess::Options options;
    options.section_server = "tcp = \"127.0.0.1:" + std::to_string(port_) + "\"\ntls_cert = \"" + file(kInUse) + ".cert\"\ntls_key = \"" +
                             file(kInUse) + ".key\"\ntokens = [\"" + kToken + "\"]\n";
    daemon_ = std::make_unique<DaemonProcess>(options);
  }
  static constexpr const char* kInUse = "current/pair";
  std::string file(const std::string& name) const { return files_.path() + "/" + name; }
  /// In place of what is in use, each file at once.
  void put(const std::string& certificate, const std::string& key) {
    const auto replace = [&](const std::string& from, const std::string& to) {
      std::filesystem::copy_file(from, to + ".new", std::filesystem::copy_options::overwrite_existing);
      std::filesystem::rename(to + ".new", to);
    };
    replace(file(certificate) + ".cert", file(kInUse) + ".cert");
    replace(file(key) + ".key", file(kInUse) + ".key");
  }
  /// A client that trusts that certificate and no other.
  Result<Client> connect(const std::string& trusted) const {
    return Client::connect("https://127.0.0.1:" + std::to_string(port_), ClientOptions().token(kToken).ca_file(file(trusted) + ".cert").timeout(5s));
  }
  bool serves(const std::string& trusted) const {
    const auto client = connect(trusted);
    if (!client) EXPECT_CODE(ErrorCode::unauthenticated, client);
    return client.has_value();
  }

  const StateDirectory files_;
  std::unique_ptr<DaemonProcess> daemon_;
  std::uint16_t port_ = 0;
};

TEST_F(NewCertificate, ServesNewConnectionsAndDropsNone) {
  Client client = connect("first").value();
  Sandbox box = client.create().value();
  RunningProcess echo = box.process().spawn(Command("cat").open_stdin()).value();
  // Not reconnected: that client would not trust the daemon any more.
  const auto goes_on = [&](const std::string& text) {
    EXPECT_OK(echo.write(text));
    std::string seen;
    while (seen.size() < text.size()) {
      const auto piece = echo.read().value();
      if (!piece) break;
      seen += piece->text();
    }
    EXPECT_EQ(seen, text);
  };
  goes_on("with the first");
  put("second", "second");
  EXPECT_TRUE(eventually([&] { return serves("second"); })) << daemon_->log();
  EXPECT_FALSE(serves("first"));
  goes_on("beside the second");

  // Another directory in place of the one that is watched: nobody notices without being told.
  std::filesystem::create_directory(file("b"));
  std::filesystem::create_directory_symlink(file("b"), file("next"));
  std::filesystem::rename(file("next"), file("current"));
  put("third", "third");
  ::kill(daemon_->pid(), SIGHUP);
  EXPECT_TRUE(eventually([&] { return serves("third"); })) << daemon_->log();
  goes_on("beside the third");
}

TEST_F(NewCertificate, ABadPairChangesNothingAndIsNamed) {
  put("second", "third");
  EXPECT_TRUE(eventually([&] { return daemon_->log().find("the private key does not belong to the certificate") != std::string::npos; })) << daemon_->log();
  EXPECT_TRUE(serves("first"));
  std::ofstream(file(kInUse) + ".cert") << "nothing\n";
  ::kill(daemon_->pid(), SIGHUP);
  EXPECT_TRUE(eventually([&] { return daemon_->log().find("not a PEM certificate chain") != std::string::npos; })) << daemon_->log();
  EXPECT_TRUE(serves("first"));
  put("second", "second");
  EXPECT_TRUE(eventually([&] { return serves("second"); })) << daemon_->log();
}

}  // namespace
}  // namespace sandbox::testing

#include "live_client.hpp"

namespace sandbox::testing {
namespace {

class Sealed : public LiveClient {};

/// One text for each place where content travels; none of them may be seen on the way, in any case.
struct Markers {
  std::string path = "markerPathQ7x", content = "markerContentQ7x", param = "markerParamQ7x", output = "markerOutputQ7x",
              error = "markerErrorQ7x", input = "markerInputQ7x", variable = "markerVariableQ7x", value = "markerValueQ7x",
              typed = "markerTypedQ7x", missing = "markerMissingQ7x";
  std::vector<std::string> all() const { return {path, content, param, output, error, input, variable, value, typed, missing}; }
};

void use_everything(Sandbox& b, const Markers& m) {
  EXPECT_OK(b.fs().write("/root/" + m.path, m.content));
  EXPECT_EQ(b.fs().read_text("/root/" + m.path).value(), m.content);
  EXPECT_CODE(ErrorCode::not_found, b.fs().read("/root/" + m.missing));
  EXPECT_OK(b.env().set(m.variable, m.value));
  const ExecResult r = b.process().exec(Command("sh").args("-c", "echo " + m.output + "; echo " + m.error + " >&2; cat", m.param).stdin_text(m.input)).value();
  EXPECT_EQ(r.stdout_text(), m.output + "\n" + m.input);
  EXPECT_EQ(r.stderr_text(), m.error + "\n");
  RunningProcess p = b.process().spawn(Command("cat").open_stdin().pty(TerminalSize{})).value();
  EXPECT_OK(p.write(m.typed + "\n"));
  std::string shown;
  while (shown.find(m.typed) == std::string::npos) {
    const auto chunk = p.read_for(10s);
    ASSERT_TRUE(chunk && *chunk);
    shown += (*chunk)->text();
  }
  EXPECT_OK(p.kill());
}

TEST_F(Sealed, NothingThatTravelsCanBeReadOnTheWay) {
  const Markers m;
  proxy().capture(true);
  Client far = through_proxy();
  Sandbox b = far.create(CreateRequest().sealed()).value();
  use_everything(b, m);
  EXPECT_OK(b.close());
  const std::string seen = proxy().captured();
  ASSERT_GT(seen.size(), 2000u);
  for (const std::string& marker : m.all()) EXPECT_EQ(seen.find(marker), std::string::npos) << marker;
}

TEST_F(Sealed, TheSameIsSeenWithoutSealing) {
  const Markers m;
  proxy().capture(true);
  Client far = through_proxy();
  Sandbox b = far.create().value();
  use_everything(b, m);
  const std::string seen = proxy().captured();
  for (const std::string& marker : m.all()) EXPECT_NE(seen.find(marker), std::string::npos) << marker << ": the test above cannot see it either";
}

TEST_F(Sealed, TheFingerprintStaysTheSameAndCanBePinned) {
  Sandbox b = client().create(CreateRequest().sealed().ttl(60s)).value();
  const Fingerprint shown = b.agent_fingerprint().value();
  Sandbox again = client().open(b.id(), OpenOptions().pin(shown)).value();
  EXPECT_EQ(again.agent_fingerprint().value(), shown);
  EXPECT_EQ(again.process().exec("echo same").value().stdout_text(), "same\n");

  Sandbox other = client().create(CreateRequest().sealed()).value();
  EXPECT_NE(other.agent_fingerprint().value(), shown);
  Sandbox wrong = client().open(other.id(), OpenOptions().pin(shown)).value();
  EXPECT_CODE(ErrorCode::unauthenticated, wrong.agent_fingerprint());
  EXPECT_CODE(ErrorCode::unauthenticated, wrong.process().exec("true"));
}

TEST_F(Sealed, APlainSessionHasNoFingerprint) {
  Sandbox b = client().create().value();
  EXPECT_CODE(ErrorCode::failed_precondition, b.agent_fingerprint());
}

}  // namespace
}  // namespace sandbox::testing

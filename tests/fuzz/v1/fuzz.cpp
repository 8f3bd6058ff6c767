// A client of the v1 dialect: frames, JSON-RPC, the dialect's own encryption, uploads. Byte 0: bit 0 encrypted from the start,
// bit 1 the input is lines, each of which becomes a text frame (or a binary one, after '#'), so that most inputs get past the
// framing, bit 2 the client reads in small portions. Byte 1: size of the pieces.
//
// Nothing is carried out: State::dispatch() is defined here, in the place of the agent's (state.cpp is not linked). Checked: each
// request that wants an answer gets exactly one, answers are frames of JSON, credit given back is what was received.
#include <cstdlib>
#include <map>
#include <memory>
#include <span>
#include <string>

#include "agent/v1/connection.hpp"
#include "agent/v1/params.hpp"
#include "agent/v1/state.hpp"

namespace {

using namespace sandbox;
using namespace sandbox::agent::v1;

[[noreturn]] void wrong() { std::abort(); }

int dispatched = 0, wanted_answers = 0;

struct Swallow final : Upload {
  Swallow(Connection& to, Caller who) : connection(to), caller(std::move(who)) {}
  bool take(std::string_view) override { return true; }
  void complete() override {
    if (!refused) connection.answer(caller, "{\"done\":true}");
  }
  void refuse(std::string text) override {
    if (!std::exchange(refused, true)) connection.refuse(caller, -32000, text);
  }
  Connection& connection;
  Caller caller;
  bool refused = false;
};

struct Carrier final : Connection::Carrier {
  std::size_t write(ByteView bytes) override {
    const std::size_t part = std::min(bytes.size(), room);
    room -= part;
    out += as_text(bytes.first(part));
    return part;
  }
  void consumed(std::size_t count) override { given_back += count; }
  void broken(const Error& why) override {
    why.ignore("expected");
    over = true;
  }
  std::string out;
  std::size_t room = ~std::size_t{0}, given_back = 0;
  bool over = false;
};

void append_frame(std::string& out, char type, std::string_view payload) {
  out += type;
  for (int shift = 24; shift >= 0; shift -= 8) out += static_cast<char>(payload.size() >> shift & 0xff);
  out += payload;
}

std::string framed(std::string_view lines) {
  std::string out;
  while (!lines.empty()) {
    const auto end = lines.find('\n');
    const auto line = lines.substr(0, end);
    if (!line.empty() && line.front() == '#') append_frame(out, 2, line.substr(1));
    else append_frame(out, 1, line);
    if (end == lines.npos) break;
    lines.remove_prefix(end + 1);
  }
  return out;
}

/// Answers in `out`, whole frames of JSON but perhaps for the last one.
int answers_in(std::string_view out) {
  int answers = 0;
  while (out.size() >= kFrameHeader) {
    if (out[0] != 1) wrong();   // no download was asked for
    std::size_t size = 0;
    for (std::size_t i = 1; i < kFrameHeader; ++i) size = size << 8 | static_cast<unsigned char>(out[i]);
    if (size > kMaxFrame || out.size() < kFrameHeader + size) wrong();
    const auto answer = json::parse(out.substr(kFrameHeader, size));
    if (!answer || !answer->is(json::Kind::object) || (!answer->find("result") && !answer->find("error"))) wrong();
    ++answers;
    out.remove_prefix(kFrameHeader + size);
  }
  if (!out.empty()) wrong();
  return answers;
}

}  // namespace

namespace sandbox::agent::v1 {

void State::dispatch(Connection& connection, Request request) {
  ++dispatched;
  if (!request.caller.id.empty()) ++wanted_answers;
  Params params(request.params);
  params.text("path");
  params.boolean("recursive");
  const auto count = params.integer("messages", 1);
  params.number("timeout", 0);
  params.strings("env");
  if (!params.error().empty()) return connection.refuse(request.caller, -32000, params.error());
  if (request.method == "fs.write") {
    auto upload = std::make_unique<Swallow>(connection, request.caller);
    upload->messages = static_cast<std::uint64_t>(count) % 4;
    upload->bytes = upload->messages == 0 ? 10 : 0;
    return connection.expect(std::move(upload));
  }
  if (request.method == "session.negotiate_e2e") {
    auto cipher = Cipher::from_key(as_bytes(std::string_view("0123456789abcdef0123456789abcdef")));
    if (!cipher) wrong();
    return connection.negotiated(request.caller, "{}", *std::move(cipher));
  }
  connection.answer(request.caller, "{\"ok\":true}");
}
void State::terminal_input(std::string_view) {}
void State::give_back(const Credit&) {}

}  // namespace sandbox::agent::v1

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 2) return 0;
  const std::uint8_t mode = data[0];
  const std::size_t piece = data[1] % 64u + 1;
  std::string input(as_text(std::as_bytes(std::span(data + 2, size - 2))));
  if (mode & 2) input = framed(input);

  dispatched = wanted_answers = 0;
  alignas(State) static std::byte nothing[sizeof(State)];
  Carrier carrier;
  if (mode & 4) carrier.room = 0;
  Connection connection(*reinterpret_cast<State*>(nothing), carrier, 7);
  int extra = 0;
  if (mode & 1) {
    auto cipher = Cipher::from_key(as_bytes(std::string_view("0123456789abcdef0123456789abcdef")));
    if (!cipher) wrong();
    connection.negotiated({7, "0"}, "{}", *std::move(cipher));
    extra = 1;
  }
  std::size_t given = 0;
  for (std::size_t at = 0; at < input.size() && !carrier.over; at += piece) {
    const auto part = std::string_view(input).substr(at, piece);
    connection.receive(as_bytes(part));
    given += part.size();
    if (mode & 4) {
      carrier.room = at % 50;
      connection.writable();
    }
    if (carrier.given_back > given) wrong();
  }
  carrier.room = ~std::size_t{0};
  connection.writable();
  // Only the beginning of a header is kept without giving its credit back.
  if (given - carrier.given_back >= kFrameHeader) wrong();
  // Requests that were no requests are answered, too; uploads that are not complete are not.
  const int answers = answers_in(carrier.out) - extra;
  if (answers < 0 || answers > dispatched + static_cast<int>(input.size())) wrong();
  return 0;
}

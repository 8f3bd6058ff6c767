#include "agent/v1/connection.hpp"

#include <algorithm>
#include <utility>

#include "agent/v1/state.hpp"
#include "agent/v1/text.hpp"

namespace sandbox::agent::v1 {
namespace {

constexpr std::size_t kMaxIdText = 256;

enum FrameType : unsigned char { kText = 1, kBinary = 2 };

void append_header(std::string& out, FrameType type, std::size_t size) {
  out += static_cast<char>(type);
  for (int shift = 24; shift >= 0; shift -= 8) out += static_cast<char>(size >> shift & 0xff);
}

std::string envelope(const Cipher& cipher, std::string_view json) {
  auto blob = cipher.seal(json);
  if (!blob) {
    blob.error().ignore("without randomness nothing is sent in clear instead");
    return "null";
  }
  return json::Object().text("_encrypted", base64(as_bytes(*blob))).take();
}

/// The id as it is echoed; empty with `good` cleared when it is none that may be.
std::string id_text(const json::Value& message, bool& good) {
  for (std::size_t i = message.keys.size(); i-- > 0;) {
    if (message.keys[i] != "id") continue;
    const json::Value& id = message.items[i];
    std::string text;
    switch (id.kind) {
      case json::Kind::integer: return std::to_string(id.integer);
      case json::Kind::real: return id.text;
      case json::Kind::null: return "null";
      case json::Kind::string:
        json::append_string(text, id.text);
        if (text.size() <= kMaxIdText) return text;
        break;
      default: break;
    }
    good = false;
    return "null";
  }
  return {};
}

}  // namespace

Connection::Connection(State& state, Carrier& carrier, std::uint64_t number)
    : state_(state), carrier_(carrier), number_(number) {}
Connection::~Connection() = default;

// ---- input ----------------------------------------------------------------------------------------------------------

void Connection::receive(ByteView bytes) {
  if (broken_) return carrier_.consumed(bytes.size());
  input_ += as_text(bytes);
  process();
}

void Connection::process() {
  if (processing_) return;
  processing_ = true;
  while (!broken_ && !upload_busy_ && roomy() && next_frame()) {
  }
  processing_ = false;
  if (input_at_ == input_.size()) {
    input_.clear();
    if (input_.capacity() > (64 << 10)) input_.shrink_to_fit();
    input_at_ = 0;
  } else if (input_at_ > (256 << 10)) {
    input_.erase(0, input_at_);
    input_at_ = 0;
  }
}

/// Handles one frame. False: it is not complete.
bool Connection::next_frame() {
  const std::string_view rest = std::string_view(input_).substr(input_at_);
  if (rest.size() < kFrameHeader) return false;
  std::size_t size = 0;
  for (std::size_t i = 1; i < kFrameHeader; ++i) size = size << 8 | static_cast<unsigned char>(rest[i]);
  const auto type = static_cast<unsigned char>(rest.front());
  if ((type != kText && type != kBinary) || size > kMaxFrame) {
    broken_ = true;
    carrier_.consumed(rest.size());
    input_at_ = input_.size();
    carrier_.broken(Error(ErrorCode::protocol, size > kMaxFrame ? "a v1 frame is longer than 10 MiB" : "unknown v1 frame type"));
    return false;
  }
  if (rest.size() < kFrameHeader + size) {
    // What is kept of an incomplete frame is bounded by kMaxFrame, so its credit can go back before the rest arrives.
    carrier_.consumed(rest.size() - std::min(rest.size(), prepaid_));
    prepaid_ = std::max(prepaid_, rest.size());
    return false;
  }
  carrier_.consumed(kFrameHeader + size - std::min(kFrameHeader + size, prepaid_));
  prepaid_ = 0;
  input_at_ += kFrameHeader + size;
  // A handler may lead to a nested call that changes input_: it gets a copy of its own.
  const std::string payload(rest.substr(kFrameHeader, size));
  if (type == kText) handle_text(payload);
  else handle_binary(payload);
  return true;
}

void Connection::handle_text(std::string_view text) {
  Request request;
  request.caller.connection = number_;
  auto parsed = json::parse(text);
  if (!parsed) {
    request.caller.id = "null";
    return refuse(request.caller, -32700, "parse error: " + parsed.error().message());
  }
  const json::Value& message = *parsed;
  bool good = message.is(json::Kind::object);
  request.caller.id = good ? id_text(message, good) : "null";
  const json::Value* version = message.find("jsonrpc");
  const json::Value* method = message.find("method");
  good = good && version && version->is(json::Kind::string) && version->text == "2.0" && method && method->is(json::Kind::string);
  if (!good) {
    if (request.caller.id.empty()) request.caller.id = "null";
    return refuse(request.caller, -32600, "invalid request");
  }
  request.method = method->text;
  if (const json::Value* params = message.find("params")) request.params = *params;

  const json::Value* sealed = request.params.find("_encrypted");
  if (sealed && sealed->is(json::Kind::string) && !sealed->text.empty() && request.method != "session.negotiate_e2e") {
    const auto failed = [&](std::string why) { refuse(request.caller, -32600, "e2e decrypt: " + why); };
    if (!cipher_) return failed("no key was negotiated");
    const auto blob = from_base64(sealed->text);
    if (!blob) return failed("illegal base64 data");
    auto plain = cipher_->open(*blob);
    if (!plain) return failed(plain.error().message());
    request.params = {};
    if (!plain->empty()) {
      auto inner = json::parse(*plain);
      if (!inner) return failed(inner.error().message());
      request.params = *std::move(inner);
    }
  }
  if (!request.params.is(json::Kind::object) && !request.params.is(json::Kind::null))
    return refuse(request.caller, -32000, "invalid params: an object is expected");
  state_.dispatch(*this, std::move(request));
}

void Connection::handle_binary(std::string_view payload) {
  const bool swallow = std::exchange(swallow_empty_, false) && payload.empty();
  if (swallow) return;
  if (uploads_.empty()) return state_.terminal_input(payload);
  Upload& upload = *uploads_.front();
  std::string plain;
  bool good = true;
  if (cipher_ && !payload.empty()) {
    auto opened = cipher_->open(payload);
    good = opened.has_value();
    if (good) payload = plain = *std::move(opened);
    else upload.refuse("decrypt binary frame: " + opened.error().message());
  }
  if (upload.messages > 0) --upload.messages;
  else upload.bytes -= std::min<std::uint64_t>(upload.bytes, payload.size());
  upload_busy_ = good && !upload.take(payload);
  if (!upload_busy_) advance_upload();
}

void Connection::upload_continues() {
  if (!upload_busy_ || uploads_.empty()) return;
  upload_busy_ = !uploads_.front()->take({});
  if (upload_busy_) return;
  advance_upload();
  process();
}

void Connection::advance_upload() {
  if (uploads_.front()->messages > 0 || uploads_.front()->bytes > 0) return;
  const auto done = std::move(uploads_.front());
  uploads_.pop_front();
  done->complete();
}

void Connection::expect(std::unique_ptr<Upload> upload) { uploads_.push_back(std::move(upload)); }

// ---- output ---------------------------------------------------------------------------------------------------------

void Connection::answer(const Caller& caller, std::string result) {
  if (caller.id.empty() || caller.connection != number_) return;
  if (cipher_) result = envelope(*cipher_, result);
  Item item;
  item.body = json::Object().text("jsonrpc", "2.0").raw("id", caller.id).raw("result", result).take();
  if (item.body.size() > kMaxFrame) return refuse(caller, -32000, "result is larger than 10 MiB");
  queue(std::move(item));
}

void Connection::refuse(const Caller& caller, int code, std::string_view text) {
  if (caller.id.empty() || caller.connection != number_) return;
  const auto error = json::Object().number("code", code).text("message", utf8_prefix(text, 64 << 10)).take();
  Item item;
  item.body = json::Object().text("jsonrpc", "2.0").raw("id", caller.id).raw("error", error).take();
  queue(std::move(item));
}

void Connection::negotiated(const Caller& caller, std::string result, std::shared_ptr<const Cipher> cipher) {
  cipher_ = nullptr;
  answer(caller, std::move(result));
  cipher_ = std::move(cipher);
}

void Connection::notify(Notice notice) {
  if (notice.method.empty() && !downloads_.empty()) {
    queued_ += notice.body.size();
    held_.push_back(std::move(notice));
    return;
  }
  Item item;
  item.kind = Item::Kind::notice;
  item.notice = std::move(notice);
  item.cipher = cipher_;
  queue(std::move(item));
}

void Connection::notify_clear(Notice notice) {
  Item item;
  item.kind = Item::Kind::notice;
  item.notice = std::move(notice);
  queue(std::move(item));
}

void Connection::content(std::string chunk) {
  Item item;
  item.kind = Item::Kind::binary;
  item.body = std::move(chunk);
  item.cipher = cipher_;
  queue(std::move(item));
}

void Connection::queue(Item item) {
  item.size = kFrameHeader + item.body.size() + item.notice.body.size();
  queued_ += item.size;
  queue_.push_back(std::move(item));
  pump();
}

bool Connection::enqueue(std::unique_ptr<Download> download) {
  if (downloads_.size() >= kMaxQueuedDownloads) return false;
  downloads_.push_back(std::move(download));
  pump();
  return true;
}

void Connection::download_ended() {
  ended_.push_back(std::move(downloads_.front()));
  downloads_.pop_front();
  if (!downloads_.empty()) return;
  for (auto& notice : std::exchange(held_, {})) {
    queued_ -= notice.body.size();
    notify(std::move(notice));
  }
}

/// Makes wire_ of what leaves next.
void Connection::form(Item item) {
  wire_.clear();
  wire_at_ = 0;
  wire_size_ = item.size;
  wire_credit_ = item.notice.credit;
  FrameType type = item.kind == Item::Kind::text ? kText : kBinary;
  if (item.kind == Item::Kind::notice) {
    if (item.notice.method.empty()) {
      item.body = std::move(item.notice.body);
    } else {
      type = kText;
      const std::string params = item.cipher ? envelope(*item.cipher, item.notice.body) : std::move(item.notice.body);
      item.body = json::Object().text("jsonrpc", "2.0").text("method", item.notice.method).raw("params", params).take();
    }
  }
  if (type == kBinary && item.cipher && !item.body.empty()) {
    auto sealed = item.cipher->seal(item.body);
    if (sealed) item.body = *std::move(sealed);
    else sealed.error().ignore("without randomness nothing is sent in clear instead"), item.body.clear();
  }
  append_header(wire_, type, item.body.size());
  if (wire_.capacity() < item.body.size()) wire_.reserve(kFrameHeader + item.body.size());
  wire_ += item.body;
}

/// False: the carrier takes nothing more.
bool Connection::write_some() {
  if (wire_at_ < wire_.size()) {
    const std::size_t taken = carrier_.write(as_bytes(wire_).subspan(wire_at_));
    wire_at_ += taken;
    if (wire_at_ < wire_.size()) return false;
  }
  if (!wire_.empty()) {
    queued_ -= std::exchange(wire_size_, 0);
    state_.give_back(std::exchange(wire_credit_, {}));
    wire_.clear();
    if (wire_.capacity() > (64 << 10)) wire_.shrink_to_fit();
    wire_at_ = 0;
  }
  return true;
}

void Connection::pump() {
  if (pumping_) return;
  pumping_ = true;
  bool room = true;
  for (;;) {
    room = write_some();
    if (!room) break;
    if (!queue_.empty()) {
      Item item = std::move(queue_.front());
      queue_.pop_front();
      form(std::move(item));
      continue;
    }
    if (downloads_.empty()) break;
    downloads_.front()->more();
    ended_.clear();
    if (queue_.empty() && wire_.empty()) break;   // it waits for something
  }
  pumping_ = false;
  // Requests that waited because the client did not read.
  if (input_at_ < input_.size()) process();
}

std::deque<Notice> Connection::take_unsent() {
  std::deque<Notice> unsent;
  for (auto& item : queue_)
    if (item.kind == Item::Kind::notice) unsent.push_back(std::move(item.notice));
  for (auto& notice : held_) unsent.push_back(std::move(notice));
  queue_.clear();
  held_.clear();
  // Of what was on its way nobody knows how much arrived.
  state_.give_back(std::exchange(wire_credit_, {}));
  wire_.clear();
  wire_at_ = queued_ = 0;
  downloads_.clear();
  uploads_.clear();
  broken_ = true;
  return unsent;
}

}  // namespace sandbox::agent::v1

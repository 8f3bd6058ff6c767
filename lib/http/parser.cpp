#include "http/parser.hpp"

#include <algorithm>
#include <limits>

#include <boost/asio/buffer.hpp>
#include <boost/beast/http/basic_parser.hpp>

namespace sandbox::http {
namespace {

namespace beast = boost::beast::http;
using BeastText = boost::beast::string_view;
using BeastError = boost::beast::error_code;

std::string_view view(BeastText text) { return {text.data(), text.size()}; }

/// What the two kinds of Beast parser share: they put what they find here.
struct Found {
  RequestHead head;
  unsigned status = 0;
  std::string_view body;
  bool has_head = false, ended = false;
  std::optional<std::uint64_t> length;

  void field(BeastText name, BeastText value) {
    if (has_head) return;  // a trailer: nobody here reads them, and they must not become headers
    head.headers.add(std::string(name), std::string(value));
  }
};

template <bool IsRequest>
class Engine final : public beast::basic_parser<IsRequest> {
 public:
  explicit Engine(Found& found) : found_(found) {}

 private:
  void on_request_impl(beast::verb, BeastText method, BeastText target, int version, BeastError&) override {
    found_.head.method.assign(method.data(), method.size());
    found_.head.target.assign(target.data(), target.size());
    found_.head.minor = version == 10 ? 0 : 1;
  }
  void on_response_impl(int code, BeastText, int version, BeastError&) override {
    found_.status = static_cast<unsigned>(code);
    found_.head.minor = version == 10 ? 0 : 1;
  }
  void on_field_impl(beast::field, BeastText name, BeastText value, BeastError&) override { found_.field(name, value); }
  void on_header_impl(BeastError&) override { found_.has_head = true; }
  void on_body_init_impl(const boost::optional<std::uint64_t>&, BeastError&) override {}
  std::size_t on_body_impl(BeastText body, BeastError&) override {
    found_.body = view(body);
    return body.size();
  }
  void on_chunk_header_impl(std::uint64_t, BeastText, BeastError&) override {}
  std::size_t on_chunk_body_impl(std::uint64_t, BeastText body, BeastError&) override {
    found_.body = view(body);
    return body.size();
  }
  void on_finish_impl(BeastError&) override { found_.ended = true; }

  Found& found_;
};

}  // namespace

struct Parser::Impl {
  Impl(Kind which, std::size_t limit) : kind(which), max_head(limit) {
    if (kind == Kind::request) {
      prepare(request.emplace(found));
    } else {
      prepare(response.emplace(found));
    }
  }
  template <class Engine>
  void prepare(Engine& engine) {
    engine.header_limit(static_cast<std::uint32_t>(std::min<std::size_t>(max_head, std::numeric_limits<std::uint32_t>::max())));
    engine.body_limit(boost::none);
  }
  /// Runs `f` on whichever engine there is.
  template <class F>
  decltype(auto) with(F&& f) {
    return kind == Kind::request ? f(*request) : f(*response);
  }

  Step fail(std::size_t used, unsigned status, std::string_view problem) {
    over = true;
    Step step;
    step.what = Step::What::error;
    step.used = used;
    step.status = status;
    step.problem = problem;
    return step;
  }
  Step head_done(std::size_t used);
  std::string_view check_head();

  Kind kind;
  std::size_t max_head;
  std::size_t head_size = 0;  ///< bytes of the head used so far
  Found found;
  std::optional<Engine<true>> request;
  std::optional<Engine<false>> response;
  bool head_told = false, end_told = false, over = false, started = false;
};

Parser::Parser(Kind kind, std::size_t max_head) : impl_(std::make_unique<Impl>(kind, max_head)) {}
Parser::~Parser() = default;
Parser::Parser(Parser&&) noexcept = default;
Parser& Parser::operator=(Parser&&) noexcept = default;

namespace {

/// Splits the target; absolute-form (RFC 9112 §3.2.2) loses scheme and authority.
bool split_target(RequestHead& head) {
  std::string_view target = head.target;
  if (target == "*" && head.method == "OPTIONS") {
    head.path = head.raw_path = "*";
    return true;
  }
  for (const std::string_view scheme : {"http://", "https://"}) {
    if (target.size() > scheme.size() && same_token(target.substr(0, scheme.size()), scheme)) {
      const auto slash = target.find('/', scheme.size());
      target = slash == std::string_view::npos ? std::string_view("/") : target.substr(slash);
      break;
    }
  }
  if (target.empty() || target.front() != '/') return false;
  const auto mark = target.find('?');
  head.raw_path = target.substr(0, mark);
  if (mark != std::string_view::npos) head.query = target.substr(mark + 1);
  auto path = percent_decode(head.raw_path);
  if (!path) return false;
  head.path = std::move(*path);
  return true;
}

}  // namespace

std::string_view Parser::Impl::check_head() {
  const Headers& headers = found.head.headers;
  const auto codings = headers.count("Transfer-Encoding");
  if (headers.count("Content-Length") > 1) return "more than one Content-Length";
  if (codings > 0 && headers.count("Content-Length") > 0) return "both Content-Length and Transfer-Encoding";
  if (codings > 1 || (codings == 1 && !same_token(headers.get("Transfer-Encoding"), "chunked"))) {
    return "unsupported transfer coding";
  }
  if (codings > 0 && found.head.minor == 0) return "Transfer-Encoding in HTTP/1.0";
  if (const std::string* length = headers.find("Content-Length")) {
    // Beast also takes a list of equal lengths.
    if (length->empty() || length->find_first_not_of("0123456789") != std::string::npos) return "malformed Content-Length";
    if (length->size() > 18) return "Content-Length is out of range";
  }
  if (kind == Kind::response) return {};
  if (headers.count("Host") != 1 && (found.head.minor != 0 || headers.count("Host") > 1)) return "exactly one Host is needed";
  if (!split_target(found.head)) return "malformed request target";
  return {};
}

Parser::Step Parser::Impl::head_done(std::size_t used) {
  if (const auto problem = check_head(); !problem.empty()) {
    return fail(used, problem == "unsupported transfer coding" ? 501 : 400, problem);
  }
  if (const auto length = with([](auto& engine) { return engine.content_length(); })) found.length = *length;
  head_told = true;
  Step step;
  step.what = Step::What::head;
  step.used = used;
  return step;
}

Parser::Step Parser::next(std::string_view input) {
  Impl& impl = *impl_;
  Step step;
  if (impl.over) return impl.fail(0, 400, "the message is over");
  // A robust server skips blank lines before a request (RFC 9112 §2.2).
  while (!impl.started && impl.kind == Kind::request && !input.empty() && (input.front() == '\r' || input.front() == '\n')) {
    if (++step.used > 16) return impl.fail(step.used, 400, "blank lines instead of a request");
    input.remove_prefix(1);
  }
  for (;;) {
    if (impl.found.ended) {
      if (impl.head_told) {
        impl.end_told = true;
        step.what = Step::What::end;
        return step;
      }
      return impl.head_done(step.used);
    }
    if (impl.found.has_head && !impl.head_told) return impl.head_done(step.used);
    if (input.empty()) return step;
    impl.started = true;
    impl.found.body = {};
    BeastError error;
    const std::size_t used =
        impl.with([&](auto& engine) { return engine.put(boost::asio::const_buffer(input.data(), input.size()), error); });
    step.used += used;
    input.remove_prefix(used);
    if (!impl.head_told) {
      impl.head_size += used;
      const bool too_big = impl.head_size + (impl.found.has_head ? 0 : input.size()) > impl.max_head;
      if (error == beast::error::header_limit || (too_big && (!error || error == beast::error::need_more))) {
        return impl.fail(step.used, 431, "the request head is too large");
      }
    } else if (error == beast::error::need_more && input.size() > impl.max_head) {
      return impl.fail(step.used, 400, "a chunk header is too large");
    }
    if (!impl.found.body.empty()) {
      step.what = Step::What::body;
      step.body = impl.found.body;
      return step;
    }
    if (error == beast::error::need_more) return step;
    if (error == beast::error::bad_version) return impl.fail(step.used, 505, "unsupported HTTP version");
    if (error) return impl.fail(step.used, 400, impl.head_told ? "malformed body" : "malformed head");
    if (used == 0 && !impl.found.ended && (impl.head_told || !impl.found.has_head)) return step;  // no progress: wait
  }
}

Parser::Step Parser::end_of_input() {
  Impl& impl = *impl_;
  if (!impl.over && impl.head_told && impl.with([](auto& engine) { return engine.need_eof(); })) {
    BeastError error;
    impl.with([&](auto& engine) { engine.put_eof(error); });
    if (!error) {
      impl.found.ended = impl.end_told = true;
      Step step;
      step.what = Step::What::end;
      return step;
    }
  }
  return impl.fail(0, 400, "the message was cut off");
}

RequestHead& Parser::request() noexcept { return impl_->found.head; }
unsigned Parser::status() const noexcept { return impl_->found.status; }
const Headers& Parser::headers() const noexcept { return impl_->found.head.headers; }
Headers& Parser::headers() noexcept { return impl_->found.head.headers; }
unsigned Parser::minor() const noexcept { return impl_->found.head.minor; }
bool Parser::started() const noexcept { return impl_->started; }
bool Parser::has_head() const noexcept { return impl_->head_told; }
bool Parser::done() const noexcept { return impl_->end_told; }
bool Parser::chunked() const noexcept {
  return impl_->with([](auto& engine) { return engine.chunked(); });
}
bool Parser::until_close() const noexcept {
  return impl_->kind == Kind::response && impl_->with([](auto& engine) { return engine.need_eof(); });
}
bool Parser::keep_alive() const noexcept {
  return impl_->with([](auto& engine) { return engine.keep_alive(); });
}
std::optional<std::uint64_t> Parser::content_length() const noexcept { return impl_->found.length; }
std::optional<std::uint64_t> Parser::remaining() const noexcept {
  if (!impl_->found.length) return std::nullopt;
  const auto left = impl_->with([](auto& engine) { return engine.content_length_remaining(); });
  return left ? *left : 0;
}
void Parser::expect_no_body() {
  impl_->with([](auto& engine) { engine.skip(true); });
}

}  // namespace sandbox::http

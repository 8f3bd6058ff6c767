#include <errno.h>
#include <fcntl.h>

#include <algorithm>
#include <memory>
#include <utility>

#include "agent/fs_support.hpp"
#include "agent/v1/files.hpp"
#include "agent/v1/params.hpp"
#include "agent/v1/sink.hpp"
#include "agent/v1/state.hpp"
#include "agent/v1/transfers.hpp"
#include "tarstream/reader.hpp"

/// fs.write and fs.upload: content that follows its request.
namespace sandbox::agent::v1 {
namespace {

constexpr int kMembersPerSlice = 64;

/// Base of both: answers once, swallows what comes after a refusal.
class Receiving : public Upload {
 public:
  Receiving(State& state, Caller caller) : state_(state), caller_(std::move(caller)) {}
  void refuse(std::string text) override {
    if (std::exchange(answered_, true)) return;
    state_.refuse(caller_, text);
    release();
  }

 protected:
  void succeed() {
    if (!std::exchange(answered_, true)) state_.answer(caller_, "{\"success\":true}");
  }
  /// Refuses with the error, if there is one. True: go on.
  bool check(Result<void> result) {
    if (result) return true;
    refuse(result.error().message());
    return false;
  }
  virtual void release() noexcept = 0;

  State& state_;
  const Caller caller_;
  bool answered_ = false;
};

class FileUpload final : public Receiving {
 public:
  using Receiving::Receiving;
  void start(const Located& target) { check(sink_.open(target, 0644, false)); }
  bool take(std::string_view content) override {
    if (!answered_) check(sink_.write(content));
    return true;
  }
  void complete() override {
    if (!answered_ && check(sink_.commit())) succeed();
  }

 private:
  void release() noexcept override { sink_.discard(); }
  Sink sink_;
};

class TarUpload final : public Receiving {
 public:
  using Receiving::Receiving;
  ~TarUpload() override {
    if (slice_) state_.loop().cancel_slice(slice_);
  }
  void start(const Located& target) {
    target_ = target.shown;
    if (!make_beneath(target.root.get(), target.relative)) refuse("create target dir: " + os_error("mkdir", target_, errno));
  }
  bool take(std::string_view content) override {
    waiting_ += content;
    if (!answered_) check(work());
    if (answered_) waiting_.clear(), at_ = 0;
    if (at_ == waiting_.size()) {
      waiting_.clear();
      at_ = 0;
      return true;
    }
    slice_ = state_.loop().defer([this] {
      slice_ = 0;
      if (Connection* connection = state_.connection_of(caller_)) connection->upload_continues();
    });
    return false;
  }
  void complete() override {
    if (answered_) return;
    if (auto whole = reader_.finish(); !whole) return refuse("read tar: " + whole.error().message());
    succeed();
  }

 private:
  void release() noexcept override { sink_.discard(); }

  Error entry_error(const std::string& why) const {
    return Error(ErrorCode::invalid_argument, "tar entry \"" + reader_.member().name + "\": " + why);
  }

  Result<void> work() {
    ByteView rest = as_bytes(std::string_view(waiting_)).subspan(at_);
    const auto used = [&] { at_ = waiting_.size() - rest.size(); };
    for (int members = 0; members < kMembersPerSlice;) {
      auto event = reader_.next(rest);
      if (!event) return Error(ErrorCode::corrupt, "read tar: " + event.error().message());
      using Event = tarstream::Reader::Event;
      if (*event == Event::need_more) break;
      if (*event == Event::member) SANDBOX_CHECK(begin());
      if (*event == Event::data && sink_) SANDBOX_CHECK(sink_.write(as_text(reader_.data())));
      if (*event == Event::member_end) {
        if (sink_) SANDBOX_CHECK(sink_.commit());
        ++members;
      }
    }
    used();
    return {};
  }

  Result<void> begin() {
    using tarstream::Kind;
    const tarstream::Member& member = reader_.member();
    if (member.kind == Kind::symlink || member.kind == Kind::hardlink)
      return entry_error("symlinks and hard links are not allowed");
    if (member.kind != Kind::file && member.kind != Kind::directory) return {};
    // Entries stay below the target, whatever ".." they are written with.
    int depth = 0;
    for (std::string_view rest = member.name; !rest.empty();) {
      const auto slash = rest.find('/');
      const auto part = rest.substr(0, slash);
      rest.remove_prefix(slash == std::string_view::npos ? rest.size() : slash + 1);
      if (part == "..") --depth;
      else if (!part.empty() && part != ".") ++depth;
      if (depth < 0) return entry_error("access denied: path \"" + member.name + "\" is outside the target directory");
    }
    auto located = state_.paths().locate(target_ + "/" + member.name);
    if (!located) return entry_error(path_error("", "open", member.name, located.error()));
    if (member.kind == Kind::file) {
      auto opened = sink_.open(*located, static_cast<mode_t>(member.mode & 0777), true);
      if (!opened) return entry_error(opened.error().message());
    } else if (!make_beneath(located->root.get(), located->relative)) {
      return entry_error(os_error("mkdir", located->shown, errno));
    }
    return {};
  }

  std::string target_;
  tarstream::Reader reader_;
  Sink sink_;                ///< of the current member; none when it has no content to keep
  std::string waiting_;
  std::size_t at_ = 0;
  std::uint64_t slice_ = 0;
};

template <class Kind>
void receive(State& state, const Request& request, bool by_size) {
  Connection* connection = state.connection_of(request.caller);
  if (!connection) return;
  Params params(request.params);
  const auto path = params.text("path");
  const std::int64_t size = params.integer("size", -1), chunks = params.integer("chunks");
  const bool chunked = params.boolean("chunked");
  auto upload = std::make_unique<Kind>(state, request.caller);
  if (chunked && chunks > 1) upload->messages = static_cast<std::uint64_t>(chunks);
  else if (by_size && size > 0) upload->bytes = static_cast<std::uint64_t>(size);
  else if (size != 0 || connection->encrypted()) upload->messages = 1;

  bool refused = true;
  if (!params.error().empty()) {
    upload->refuse(params.error());
  } else if (auto located = state.paths().locate(path); !located) {
    upload->refuse(path_error("write file: ", "open", path, located.error()));
  } else {
    upload->start(*located);
    refused = false;
  }
  if (upload->messages == 0 && upload->bytes == 0) {
    connection->swallow_empty();
    return upload->complete();
  }
  // Who says no size may send nothing: what a refused request of that kind sends is ignored as input of no terminal.
  if (refused && size < 0 && upload->messages <= 1) return;
  connection->expect(std::move(upload));
}

}  // namespace

void fs_write(State& state, const Request& request) { receive<FileUpload>(state, request, false); }
void fs_upload(State& state, const Request& request) { receive<TarUpload>(state, request, true); }

}  // namespace sandbox::agent::v1

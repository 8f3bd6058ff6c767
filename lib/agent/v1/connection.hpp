#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <sandbox/result.hpp>

#include "agent/v1/e2e.hpp"
#include "agent/v1/json.hpp"
#include "agent/v1/notices.hpp"

/// One attached client of the v1 dialect: frames in, messages out, in the order the dialect demands.
namespace sandbox::agent::v1 {

class State;

inline constexpr std::size_t kFrameHeader = 5;             ///< type u8 (1 text, 2 binary), length u32 big-endian
inline constexpr std::size_t kMaxFrame = 10 << 20;
inline constexpr std::size_t kChunk = 1 << 20;             ///< content bytes of one binary message

/// Who asked: what an answer needs. A request may outlive the connection it came on; its answer is dropped then.
struct Caller {
  std::uint64_t connection = 0;
  std::string id;              ///< JSON text, echoed; empty: a notification, which gets no answer
};

struct Request {
  Caller caller;
  std::string method;
  json::Value params;          ///< an object, or null
};

/// Content a client sends after fs.write or fs.upload.
class Upload {
 public:
  virtual ~Upload() = default;
  /// One binary message, decrypted. False: it must be called again, with nothing, before the next message (content that
  /// takes long is worked on in turns with everything else).
  virtual bool take(std::string_view content) = 0;
  /// All messages came.
  virtual void complete() = 0;
  /// Something is wrong with what came: answers so. Further content is swallowed.
  virtual void refuse(std::string text) = 0;

  std::uint64_t messages = 0;   ///< still to come; 0: counted in bytes
  std::uint64_t bytes = 0;      ///< still to come
};

/// Binary messages for the client, then an answer: fs.read, fs.download.
class Download {
 public:
  virtual ~Download() = default;
  /// There is room: sends what it has, at least one message or the answer unless it waits for something; in that case it
  /// asks for another call itself. Never called again after Connection::download_ended().
  virtual void more() = 0;
};

class Connection {
 public:
  static constexpr std::size_t kHigh = 1 << 20;   ///< queued bytes above which requests wait and programs pause
  static constexpr std::size_t kMaxQueuedDownloads = 256;

  /// What carries the bytes of a connection.
  class Carrier {
   public:
    virtual ~Carrier() = default;
    /// Takes a prefix and returns its length; 0: full, writable() is called when there is room.
    virtual std::size_t write(ByteView bytes) = 0;
    /// Bytes given to receive() were used up.
    virtual void consumed(std::size_t count) = 0;
    /// The client broke the rules of framing: ends the connection.
    virtual void broken(const Error& why) = 0;
  };

  Connection(State& state, Carrier& carrier, std::uint64_t number);
  ~Connection();
  Connection(const Connection&) = delete;

  std::uint64_t number() const noexcept { return number_; }
  bool encrypted() const noexcept { return cipher_ != nullptr; }

  void receive(ByteView bytes);
  void writable() { pump(); }

  /// `result` is JSON. Encrypted when this connection is.
  void answer(const Caller& caller, std::string result);
  /// Never encrypted.
  void refuse(const Caller& caller, int code, std::string_view text);
  /// Answers in clear whatever was negotiated, and encrypts what follows.
  void negotiated(const Caller& caller, std::string result, std::shared_ptr<const Cipher> cipher);
  void notify(Notice notice);
  /// The same, never encrypted: what the daemon says in the original.
  void notify_clear(Notice notice);

  /// Whether programs should write more.
  bool roomy() const noexcept { return queued_ < kHigh; }

  void expect(std::unique_ptr<Upload> upload);
  /// The first upload goes on: its take() had returned false.
  void upload_continues();
  /// A binary message that belongs to nobody is input of a terminal, or nothing. An empty one may be all of an empty file.
  void swallow_empty() noexcept { swallow_empty_ = true; }

  /// False: too many wait already.
  bool enqueue(std::unique_ptr<Download> download);
  /// A binary message of the running download; at most kChunk bytes.
  void content(std::string chunk);
  /// The running download sent its answer.
  void download_ended();
  /// The running download has more.
  void download_continues() { pump(); }

  /// Notices that never left, in order; the rest of the queue is gone. For the state, when the connection ends.
  std::deque<Notice> take_unsent();

 private:
  struct Item {
    enum class Kind : std::uint8_t { text, binary, notice } kind = Kind::text;
    std::string body;
    Notice notice;
    std::shared_ptr<const Cipher> cipher;   ///< null: in clear
    std::size_t size = 0;                   ///< as counted in queued_
  };

  void queue(Item item);
  void process();
  bool next_frame();
  void handle_text(std::string_view text);
  void handle_binary(std::string_view payload);
  void advance_upload();
  void pump();
  bool write_some();
  void form(Item item);

  State& state_;
  Carrier& carrier_;
  const std::uint64_t number_;
  std::shared_ptr<const Cipher> cipher_;

  std::string input_;             ///< received, not handled yet
  std::size_t input_at_ = 0;
  std::size_t prepaid_ = 0;       ///< bytes of the incomplete frame whose credit was given back already
  bool processing_ = false, broken_ = false, upload_busy_ = false, swallow_empty_ = false;
  std::deque<std::unique_ptr<Upload>> uploads_;

  std::deque<Item> queue_;
  std::size_t queued_ = 0;
  std::string wire_;              ///< the frame that is leaving
  std::size_t wire_at_ = 0;
  Credit wire_credit_;
  std::size_t wire_size_ = 0;     ///< its share of queued_
  bool pumping_ = false;
  std::deque<std::unique_ptr<Download>> downloads_;   ///< the first one runs
  std::vector<std::unique_ptr<Download>> ended_;      ///< freed outside of their members
  std::deque<Notice> held_;       ///< binary notices: they wait until no download is on its way
};

}  // namespace sandbox::agent::v1

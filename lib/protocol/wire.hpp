#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <type_traits>
#include <vector>

#include <sandbox/bytes.hpp>
#include <sandbox/result.hpp>

/// Structured payloads are Protocol Buffers wire format (protobuf.dev, "Encoding"), the subset of varint and
/// length-delimited fields, so that any protobuf library can read them; docs/PROTOCOL.md gives the .proto text.
///
/// A message is a plain struct with a static `fields(self, visit)` that calls `visit(number, self.member)` for each
/// member. Encoding skips zero and empty members, except where the struct's default is not zero: those are always
/// written (the .proto text calls them optional). Decoding skips unknown fields and checks every length.
namespace sandbox::protocol {

/// Nesting beyond this is refused. Our deepest message has 3.
inline constexpr int kMaxDepth = 8;
/// Elements of one repeated field beyond this are refused.
inline constexpr std::size_t kMaxRepeated = 1 << 16;

template <class T>
concept Message = requires(T& t) { T::fields(t, [](auto, auto&) {}); };

namespace detail {
/// Bit n: field number n is a number whose default is not zero, so that zero must be written.
template <Message T>
std::uint64_t find_nonzero_defaults() {
  std::uint64_t mask = 0;
  const T defaults{};
  T::fields(defaults, [&](unsigned number, const auto& member) {
    using Member = std::remove_cvref_t<decltype(member)>;
    if constexpr (std::is_arithmetic_v<Member> || std::is_enum_v<Member>) {
      if (static_cast<std::uint64_t>(member) != 0) mask |= std::uint64_t{1} << (number & 63);
    }
  });
  return mask;
}
template <Message T>
std::uint64_t nonzero_defaults() {
  static const std::uint64_t mask = find_nonzero_defaults<T>();
  return mask;
}
}  // namespace detail

class Writer {
 public:
  explicit Writer(std::string& out) : out_(out) {}

  /// The fields of `message`, without a tag or length of its own.
  template <Message T>
  void message(const T& value) {
    T::fields(value, [&](unsigned number, const auto& member) {
      using Member = std::remove_cvref_t<decltype(member)>;
      if constexpr (std::is_arithmetic_v<Member> || std::is_enum_v<Member>) {
        if (static_cast<std::uint64_t>(member) == 0) {
          if (detail::nonzero_defaults<T>() >> (number & 63) & 1) varint_field(number, 0);
          return;
        }
      }
      field(number, member);
    });
  }

  void varint(std::uint64_t value) {
    while (value >= 0x80) {
      out_ += static_cast<char>(value | 0x80);
      value >>= 7;
    }
    out_ += static_cast<char>(value);
  }
  void bytes_field(unsigned number, std::string_view bytes) {
    varint(number << 3 | 2);
    varint(bytes.size());
    out_ += bytes;
  }
  void varint_field(unsigned number, std::uint64_t value) {
    varint(number << 3);
    varint(value);
  }

  template <class T>
  void field(unsigned number, const T& value) {
    if constexpr (std::is_same_v<T, bool> || std::is_unsigned_v<T>) {
      if (value) varint_field(number, value);
    } else if constexpr (std::is_enum_v<T>) {
      if (static_cast<std::uint64_t>(value)) varint_field(number, static_cast<std::uint64_t>(value));
    } else if constexpr (std::is_signed_v<T>) {  // sint64: zigzag
      const auto wide = static_cast<std::int64_t>(value);
      if (wide) varint_field(number, static_cast<std::uint64_t>(wide) << 1 ^ static_cast<std::uint64_t>(wide >> 63));
    } else if constexpr (std::is_same_v<T, std::string> || std::is_same_v<T, std::string_view>) {
      if (!value.empty()) bytes_field(number, value);
    } else if constexpr (Message<T>) {
      std::string inner;
      Writer(inner).message(value);
      bytes_field(number, inner);
    } else {
      optional_or_repeated(number, value);
    }
  }

 private:
  template <class T>
  void optional_or_repeated(unsigned number, const std::optional<T>& value) {
    if (!value) return;
    if constexpr (std::is_same_v<T, std::string>) bytes_field(number, *value);
    else if constexpr (Message<T>) field(number, *value);
    else if constexpr (std::is_signed_v<T>)
      varint_field(number, static_cast<std::uint64_t>(*value) << 1 ^ static_cast<std::uint64_t>(std::int64_t{*value} >> 63));
    else varint_field(number, static_cast<std::uint64_t>(*value));
  }
  template <class T>
  void optional_or_repeated(unsigned number, const std::vector<T>& values) {
    for (const T& value : values) {
      if constexpr (std::is_same_v<T, std::string>) bytes_field(number, value);
      else if constexpr (Message<T>) field(number, value);
      else varint_field(number, static_cast<std::uint64_t>(value));
    }
  }

  std::string& out_;
};

class Reader {
 public:
  explicit Reader(ByteView in, int depth = 0) : in_(in), depth_(depth) {}
  bool done() const noexcept { return in_.empty(); }

  bool varint(std::uint64_t& value) noexcept {
    value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
      if (in_.empty()) return false;
      const auto byte = static_cast<std::uint8_t>(in_.front());
      in_ = in_.subspan(1);
      if (shift == 63 && byte > 1) return false;
      value |= std::uint64_t(byte & 0x7f) << shift;
      if (!(byte & 0x80)) return true;
    }
    return false;
  }
  bool length_delimited(ByteView& bytes) noexcept {
    std::uint64_t size = 0;
    if (!varint(size) || size > in_.size()) return false;
    bytes = in_.first(size);
    in_ = in_.subspan(size);
    return true;
  }
  bool skip(unsigned wire_type) noexcept {
    std::uint64_t ignored = 0;
    ByteView bytes;
    switch (wire_type) {
      case 0: return varint(ignored);
      case 1: return advance(8);
      case 2: return length_delimited(bytes);
      case 5: return advance(4);
      default: return false;
    }
  }

  template <Message T>
  bool message(T& out) {
    if (depth_ > kMaxDepth) return false;
    while (!done()) {
      std::uint64_t tag = 0;
      if (!varint(tag) || tag >> 3 == 0 || tag >> 3 > (1u << 29)) return false;
      const auto number = static_cast<unsigned>(tag >> 3);
      const auto wire_type = static_cast<unsigned>(tag & 7);
      bool known = false, good = true;
      T::fields(out, [&](unsigned n, auto& member) {
        if (n != number || known) return;
        known = true;
        good = value(wire_type, member);
      });
      if (!known) good = skip(wire_type);
      if (!good) return false;
    }
    return true;
  }

 private:
  bool advance(std::size_t n) noexcept {
    if (in_.size() < n) return false;
    in_ = in_.subspan(n);
    return true;
  }
  template <class T>
  bool value(unsigned wire_type, T& out) {
    if constexpr (std::is_integral_v<T> || std::is_enum_v<T>) {
      std::uint64_t raw = 0;
      if (wire_type != 0 || !varint(raw)) return false;
      if constexpr (std::is_same_v<T, bool>) {
        out = raw != 0;
      } else if constexpr (std::is_enum_v<T>) {
        using Under = std::underlying_type_t<T>;
        if (raw > std::numeric_limits<Under>::max()) return false;
        out = static_cast<T>(raw);
      } else if constexpr (std::is_signed_v<T>) {
        const auto wide = static_cast<std::int64_t>(raw >> 1 ^ (~(raw & 1) + 1));
        if (wide < std::numeric_limits<T>::min() || wide > std::numeric_limits<T>::max()) return false;
        out = static_cast<T>(wide);
      } else {
        if (raw > std::numeric_limits<T>::max()) return false;
        out = static_cast<T>(raw);
      }
      return true;
    } else if constexpr (std::is_same_v<T, std::string>) {
      ByteView bytes;
      if (wire_type != 2 || !length_delimited(bytes)) return false;
      out.assign(as_text(bytes));
      return true;
    } else if constexpr (Message<T>) {
      ByteView bytes;
      if (wire_type != 2 || !length_delimited(bytes)) return false;
      return Reader(bytes, depth_ + 1).message(out);
    } else {
      return optional_or_repeated(wire_type, out);
    }
  }
  template <class T>
  bool optional_or_repeated(unsigned wire_type, std::optional<T>& out) {
    return value(wire_type, out.emplace());
  }
  template <class T>
  bool optional_or_repeated(unsigned wire_type, std::vector<T>& out) {
    if (out.size() >= kMaxRepeated) return false;
    return value(wire_type, out.emplace_back());
  }

  ByteView in_;
  int depth_;
};

template <Message T>
std::string encode(const T& message) {
  std::string out;
  Writer(out).message(message);
  return out;
}

/// Errors: protocol, when `in` is not a T.
template <Message T>
Result<T> decode(ByteView in) {
  T out{};
  if (!Reader(in).message(out)) return Error(ErrorCode::protocol, "malformed message");
  return out;
}

}  // namespace sandbox::protocol

// The record of a template as it lies on disk. Byte 0 even: the record's own digest is put in front, so that what is behind it is
// read; odd: the bytes are the file. What is found is the template that was asked for.
#include <sodium.h>

#include <cstdlib>
#include <fstream>
#include <memory>
#include <span>
#include <string>

#include <sandbox/bytes.hpp>

#include "../scratch.hpp"
#include "image/store.hpp"

namespace {

using namespace sandbox;

const std::string kId = "tpl-0123456789abcdef";

[[noreturn]] void wrong() { std::abort(); }

struct Store {
  Store() {
    image::StoreOptions options;
    options.directory = scratch.path();
    auto opened = image::ImageStore::open(std::move(options));
    if (!opened) wrong();
    store = *std::move(opened);
  }
  const fuzz::Scratch scratch;
  std::unique_ptr<image::ImageStore> store;
};

std::string digest(std::string_view text) {
  unsigned char hash[crypto_hash_sha256_BYTES];
  crypto_hash_sha256(hash, reinterpret_cast<const unsigned char*>(text.data()), text.size());
  char hex[2 * sizeof hash + 1];
  return sodium_bin2hex(hex, sizeof hex, hash, sizeof hash);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  static const Store place;
  const std::string_view in = as_text(std::as_bytes(std::span(data + 1, size - 1)));
  {
    std::ofstream file(place.scratch.path() + "/templates/" + kId + ".meta", std::ios::binary | std::ios::trunc);
    if (data[0] % 2 == 0) file << digest(in) << '\n';
    file << in;
    if (!file.flush()) wrong();
  }
  const auto found = place.store->find_template(kId);
  const auto all = place.store->templates();
  if (!all || all->size() != (found ? 1u : 0u)) wrong();
  if (!found) {
    if (found.error().code() != ErrorCode::corrupt) wrong();
    return 0;
  }
  if (found->id != kId || !found->digest.starts_with("sha256:")) wrong();
  return 0;
}

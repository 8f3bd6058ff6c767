// The C++ runtime of guest programs: allocation and the throw hooks of libstdc++'s headers, all of which end the
// process. Guest code is written so that none of them is reached except when memory is exhausted.
#include <cstdlib>
#include <memory>
#include <new>
#include <string.h>
#include <unistd.h>

namespace {
[[noreturn]] void fail(const char* what) {
  (void)!::write(2, "sandbox guest: ", 15);
  (void)!::write(2, what, strlen(what));
  (void)!::write(2, "\n", 1);
  ::abort();
}
}  // namespace

void* operator new(std::size_t size) {
  if (void* memory = ::malloc(size ? size : 1)) return memory;
  fail("out of memory");
}
void* operator new[](std::size_t size) { return operator new(size); }
void* operator new(std::size_t size, const std::nothrow_t&) noexcept { return ::malloc(size ? size : 1); }
void* operator new[](std::size_t size, const std::nothrow_t&) noexcept { return ::malloc(size ? size : 1); }
void operator delete(void* memory) noexcept { ::free(memory); }
void operator delete[](void* memory) noexcept { ::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { ::free(memory); }
void operator delete[](void* memory, std::size_t) noexcept { ::free(memory); }
void operator delete(void* memory, const std::nothrow_t&) noexcept { ::free(memory); }

namespace std {
void __throw_length_error(const char* what) { fail(what); }
void __throw_logic_error(const char* what) { fail(what); }
void __throw_out_of_range(const char* what) { fail(what); }
void __throw_out_of_range_fmt(const char* what, ...) { fail(what); }
void __throw_invalid_argument(const char* what) { fail(what); }
void __throw_bad_function_call() { fail("bad function call"); }
void __throw_bad_alloc() { fail("bad alloc"); }
void __throw_bad_array_new_length() { fail("bad array length"); }
void __throw_bad_optional_access() { fail("bad optional access"); }
void __throw_bad_variant_access(const char* what) { fail(what); }
void __throw_system_error(int) { fail("system error"); }
// std::make_shared asks whether a type_info of code with RTTI is its own; guest code has none.
bool _Sp_make_shared_tag::_S_eq(const type_info&) noexcept { return false; }
}  // namespace std

extern "C" {
void __cxa_pure_virtual() { fail("pure virtual call"); }
void __cxa_throw_bad_array_new_length() { fail("bad array length"); }  // new T[n] with a size known at run time
int __cxa_atexit(void (*)(void*), void*, void*) { return 0; }  // guest programs leave through _exit
void* __dso_handle = nullptr;
// Archives built for glibc with _FORTIFY_SOURCE (libsodium, zstd) call the checked forms.
void __explicit_bzero_chk(void* memory, size_t size, size_t capacity) {
  if (size > capacity) fail("buffer overflow");
  explicit_bzero(memory, size);
}
void* __memcpy_chk(void* to, const void* from, size_t size, size_t capacity) {
  if (size > capacity) fail("buffer overflow");
  return memcpy(to, from, size);
}
void* __memmove_chk(void* to, const void* from, size_t size, size_t capacity) {
  if (size > capacity) fail("buffer overflow");
  return memmove(to, from, size);
}
void* __memset_chk(void* to, int value, size_t size, size_t capacity) {
  if (size > capacity) fail("buffer overflow");
  return memset(to, value, size);
}
}

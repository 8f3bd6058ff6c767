// Lets Debian's libstdc++ headers, configured for glibc, be used with musl's C headers: the few glibc names they expect.
// Force-included into every guest translation unit by cmake/SandboxGuest.cmake.
#pragma once
#include <features.h>
#define __GLIBC_PREREQ(major, minor) 0
struct __locale_struct;
typedef struct __locale_struct* __locale_t;
enum {  // <bits/ctype_base.h> names these; nothing in the guest uses them.
  _ISupper = 1, _ISlower = 2, _ISalpha = 4, _ISdigit = 8, _ISxdigit = 16, _ISspace = 32,
  _ISprint = 64, _ISgraph = 128, _ISblank = 256, _IScntrl = 512, _ISpunct = 1024, _ISalnum = 2048
};
#ifdef __cplusplus
#include <bits/c++config.h>
#undef _GLIBCXX_USE_PTHREAD_COND_CLOCKWAIT
#undef _GLIBCXX_USE_PTHREAD_MUTEX_CLOCKLOCK
#undef _GLIBCXX_USE_PTHREAD_RWLOCK_CLOCKLOCK
#endif

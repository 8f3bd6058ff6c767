#pragma once

/// Source compatibility is promised within a minor version; binary compatibility only by <sandbox/c.h>.
#define SANDBOX_VERSION_MAJOR 0
#define SANDBOX_VERSION_MINOR 1
#define SANDBOX_VERSION_PATCH 0
#define SANDBOX_VERSION_STRING "0.1.0"

#pragma once

#include "aio/worker_threads.hpp"

namespace sandbox::runtime {

using aio::start_thread;
using aio::WorkerThreads;

}  // namespace sandbox::runtime

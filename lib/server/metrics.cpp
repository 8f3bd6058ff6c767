#include "server/metrics.hpp"

#include <prometheus/counter.h>
#include <prometheus/family.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <map>
#include <unordered_map>
#include <utility>

namespace sandbox::server {
namespace {

using Buckets = prometheus::Histogram::BucketBoundaries;
const Buckets kBuckets{0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5};

constexpr std::array<std::string_view, 8> kMethods{"GET", "POST", "PUT", "DELETE", "HEAD", "PATCH", "OPTIONS", "other"};

std::size_t method_index(std::string_view method) noexcept {
  std::size_t i = 0;
  while (i + 1 < kMethods.size() && kMethods[i] != method) ++i;
  return i;
}

template <class Builder>
auto& family(prometheus::Registry& registry, Builder builder, const char* name, const char* help) {
  return builder.Name(name).Help(help).Register(registry);
}

/// What /proc tells about this process: user and system time in seconds, resident bytes.
struct ProcessNumbers {
  double cpu_seconds = 0;
  double resident = 0;
  double virtual_size = 0;
  double threads = 0;
  double start_time = 0;
};

ProcessNumbers process_numbers() {
  ProcessNumbers numbers;
  std::ifstream file("/proc/self/stat");
  std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  const std::size_t name_end = text.rfind(')');  // the name may hold anything
  if (name_end == text.npos) return numbers;
  unsigned long long user = 0, system = 0, threads = 0, start = 0, size = 0, pages = 0;
  // proc(5): fields 14, 15, 20, 22, 23, 24; the scan begins at field 3.
  if (std::sscanf(text.c_str() + name_end + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu %*d %*d %*d %*d %llu %*d %llu %llu %llu",
                  &user, &system, &threads, &start, &size, &pages) != 6) {
    return numbers;
  }
  const auto tick = static_cast<double>(::sysconf(_SC_CLK_TCK));
  numbers.cpu_seconds = static_cast<double>(user + system) / tick;
  numbers.threads = static_cast<double>(threads);
  numbers.virtual_size = static_cast<double>(size);
  numbers.resident = static_cast<double>(pages) * static_cast<double>(::sysconf(_SC_PAGESIZE));
  std::ifstream stat("/proc/stat");
  for (std::string line; std::getline(stat, line);) {
    if (line.compare(0, 6, "btime ") == 0) {
      numbers.start_time = std::strtod(line.c_str() + 6, nullptr) + static_cast<double>(start) / tick;
      break;
    }
  }
  return numbers;
}

double open_descriptors() {
  std::error_code error;
  double count = 0;
  for (auto entry = std::filesystem::directory_iterator("/proc/self/fd", error); !error && entry != std::filesystem::directory_iterator();
       entry.increment(error)) {
    ++count;
  }
  return count > 0 ? count - 1 : 0;  // without the one that lists
}

}  // namespace

struct Metrics::Impl {
  using Counters = prometheus::Family<prometheus::Counter>;
  using Gauges = prometheus::Family<prometheus::Gauge>;

  /// Numbers of one method and pattern.
  struct Requests {
    prometheus::Histogram* duration = nullptr;
    std::vector<std::pair<unsigned, prometheus::Counter*>> by_status;  ///< a handful each
  };
  using Key = std::pair<const char*, std::size_t>;  ///< the pattern's address; the method
  struct Hash {
    std::size_t operator()(const Key& key) const noexcept { return std::hash<const char*>()(key.first) * 31 + key.second; }
  };

  explicit Impl(std::string_view version) {
    family(registry, prometheus::BuildGauge(), "sandboxd_build_info", "Version of this daemon; always 1.")
        .Add({{"version", std::string(version)}})
        .Set(1);
  }

  Requests& requests_of(std::string_view method, std::string_view pattern) {
    const std::size_t index = method_index(method);
    Requests& found = requests[{pattern.data(), index}];
    if (found.duration == nullptr) {
      found.duration = &durations.Add({{"method", std::string(kMethods[index])}, {"path", std::string(pattern)}}, kBuckets);
    }
    return found;
  }

  prometheus::Counter& counter_of(Requests& one, std::string_view method, std::string_view pattern, unsigned status) {
    for (const auto& [known, counter] : one.by_status) {
      if (known == status) return *counter;
    }
    prometheus::Counter& made = requests_total.Add({{"method", std::string(kMethods[method_index(method)])},
                                                    {"path", std::string(pattern)},
                                                    {"status", std::to_string(status)}});
    one.by_status.emplace_back(status, &made);
    return made;
  }

  /// Brings a counter to a number that somebody else counts.
  static void advance(prometheus::Counter& counter, std::uint64_t to) {
    if (const double behind = static_cast<double>(to) - counter.Value(); behind > 0) counter.Increment(behind);
  }

  prometheus::Registry registry;
  prometheus::Gauge& active = family(registry, prometheus::BuildGauge(), "sandboxd_sandboxes_active", "Sandboxes alive, warm ones not counted.").Add({});
  Gauges& pool_ready = family(registry, prometheus::BuildGauge(), "sandboxd_pool_ready", "Warm sandboxes ready to be handed out.");
  Counters& creates = family(registry, prometheus::BuildCounter(), "sandboxd_sandbox_creates_total", "Sandboxes created.");
  prometheus::Counter& warm = creates.Add({{"method", "warm"}});
  prometheus::Counter& cold = creates.Add({{"method", "cold"}});
  prometheus::Counter& destroys = family(registry, prometheus::BuildCounter(), "sandboxd_sandbox_destroys_total", "Sandboxes destroyed.").Add({});
  Counters& requests_total = family(registry, prometheus::BuildCounter(), "sandboxd_requests_total", "HTTP requests answered.");
  prometheus::Family<prometheus::Histogram>& durations =
      family(registry, prometheus::BuildHistogram(), "sandboxd_request_duration_seconds", "Time from request to answer.");
  Counters& pool_hits = family(registry, prometheus::BuildCounter(), "sandboxd_pool_hits_total", "Creates served by a warm sandbox.");
  Counters& pool_misses = family(registry, prometheus::BuildCounter(), "sandboxd_pool_misses_total", "Creates that found no warm sandbox.");
  Gauges& pool_refill = family(registry, prometheus::BuildGauge(), "sandboxd_pool_refill_seconds", "Time the latest warm sandbox took to make.");
  prometheus::Gauge& sessions = family(registry, prometheus::BuildGauge(), "sandboxd_sessions_active", "Sessions open.").Add({});
  prometheus::Gauge& connections = family(registry, prometheus::BuildGauge(), "sandboxd_http_connections", "HTTP connections open.").Add({});
  prometheus::Counter& cpu = family(registry, prometheus::BuildCounter(), "process_cpu_seconds_total", "CPU time of this process.").Add({});
  prometheus::Gauge& resident = family(registry, prometheus::BuildGauge(), "process_resident_memory_bytes", "Resident memory.").Add({});
  prometheus::Gauge& virtual_size = family(registry, prometheus::BuildGauge(), "process_virtual_memory_bytes", "Virtual memory.").Add({});
  prometheus::Gauge& descriptors = family(registry, prometheus::BuildGauge(), "process_open_fds", "Open descriptors.").Add({});
  prometheus::Gauge& threads = family(registry, prometheus::BuildGauge(), "process_threads", "Threads.").Add({});
  prometheus::Gauge& started = family(registry, prometheus::BuildGauge(), "process_start_time_seconds", "Start, in seconds since 1970.").Add({});

  std::unordered_map<Key, Requests, Hash> requests;
  std::map<std::string, prometheus::Gauge*> ready_of;  ///< profiles shown, to hide those that are gone
};

Metrics::Metrics(std::string_view version) : impl_(std::make_unique<Impl>(version)) {}
Metrics::~Metrics() = default;

void Metrics::request(std::string_view method, std::string_view pattern, unsigned status, std::chrono::nanoseconds took) {
  Impl::Requests& one = impl_->requests_of(method, pattern);
  one.duration->Observe(std::chrono::duration<double>(took).count());
  impl_->counter_of(one, method, pattern, status >= 100 && status <= 599 ? status : 0).Increment();
}

void Metrics::created(Method method) { (method == Method::warm ? impl_->warm : impl_->cold).Increment(); }
void Metrics::destroyed() { impl_->destroys.Increment(); }

std::string Metrics::expose(const Now& now) {
  Impl& in = *impl_;
  in.active.Set(static_cast<double>(now.sandboxes));
  in.sessions.Set(static_cast<double>(now.sessions));
  in.connections.Set(static_cast<double>(now.http_connections));
  auto gone = std::exchange(in.ready_of, {});
  for (const PoolInfo& pool : now.pools) {
    const prometheus::Labels labels{{"profile", pool.profile}};
    prometheus::Gauge& ready = in.pool_ready.Add(labels);  // the same one again when it exists
    ready.Set(pool.ready);
    in.ready_of[pool.profile] = &ready;
    gone.erase(pool.profile);
    Impl::advance(in.pool_hits.Add(labels), pool.hits);
    Impl::advance(in.pool_misses.Add(labels), pool.misses);
    in.pool_refill.Add(labels).Set(std::chrono::duration<double>(pool.refill_time).count());
  }
  for (const auto& [profile, gauge] : gone) in.pool_ready.Remove(gauge);
  const ProcessNumbers process = process_numbers();
  if (const double more = process.cpu_seconds - in.cpu.Value(); more > 0) in.cpu.Increment(more);
  in.resident.Set(process.resident);
  in.virtual_size.Set(process.virtual_size);
  in.descriptors.Set(open_descriptors());
  in.threads.Set(process.threads);
  in.started.Set(process.start_time);
  return prometheus::TextSerializer().Serialize(in.registry.Collect());
}

}  // namespace sandbox::server

// What changes below a directory, as it changes.
#include <chrono>
#include <iostream>
#include <set>

#include "common.hpp"

int main() {
  using namespace std::chrono_literals;
  return example::run([] {
    auto runtime = sandbox::Runtime::open().value();
    auto box = runtime.create(example::spec()).value();
    box.fs().mkdir("/root/work").value();
    auto watch = box.fs().watch("/root/work").value();

    box.process().exec("cd /root/work && echo 1 > a && mkdir sub && sleep 0.2 && echo 2 > sub/b && mv a c && rm c").value();

    static constexpr const char* kNames[] = {"?", "created", "modified", "removed", "renamed", "attributes", "overflow"};
    std::set<std::string> seen;
    // Until the last thing the command did has been told.
    while (!seen.contains("removed /root/work/c")) {
      const auto event = watch.next(5s).value();
      const std::string line = std::string(kNames[static_cast<std::size_t>(event.kind)]) + " " + event.path;
      std::cout << "  " << line << (event.old_path.empty() ? "" : "  (was " + event.old_path + ")") << "\n";
      seen.insert(line);
    }
    for (const char* line : {"created /root/work/a", "created /root/work/sub", "created /root/work/sub/b", "renamed /root/work/c"}) {
      example::expect(seen.contains(line), line);
    }
  });
}

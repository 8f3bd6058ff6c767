// A sandbox is prepared once and saved; others start from what it had become.
#include <iostream>

#include "common.hpp"

int main() {
  return example::run([] {
    auto runtime = sandbox::Runtime::open().value();
    std::string id;
    {
      auto box = runtime.create(example::spec()).value();
      box.process().exec("mkdir -p /root/model && seq 1 100000 > /root/model/data && ln -s model/data /root/latest").value();
      const auto info = box.save_template("prepared").value();
      id = info.id;
      std::cout << "saved " << info.id << ": " << info.size.bytes() << " bytes at rest, " << info.digest.substr(0, 19) << "…\n";
    }
    auto spec = example::spec();
    spec.image(sandbox::Image::from_template(id));
    auto first = runtime.create(spec).value();
    auto second = runtime.create(spec).value();
    // Each has a copy of its own: what one changes, the other does not see.
    first.process().exec("echo changed > /root/latest").value();
    const auto lines = second.process().exec("wc -l < /root/latest").value();
    std::cout << "the second one has " << lines.stdout_text();
    example::expect(lines.stdout_text() == "100000\n", "100000 lines, untouched by the first");

    example::expect(runtime.find_template(id).value().label == "prepared", "to find it again");
    first.close().value();
    second.close().value();
    runtime.remove_template(id).value();
    const auto gone = runtime.create(spec);
    example::expect(!gone && gone.error().code() == sandbox::ErrorCode::not_found, "not_found for a template that is gone");
    std::cout << "removed " << id << "\n";
  });
}

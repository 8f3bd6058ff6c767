// Files: write, run, read back, list, copy a directory in and out.
#include <filesystem>
#include <fstream>
#include <iostream>
#include <unistd.h>

#include "common.hpp"

int main() {
  return example::run([] {
    auto runtime = sandbox::Runtime::open().value();
    auto box = runtime.create(example::spec()).value();
    auto fs = box.fs();

    fs.write("/root/main.py", "import sys\nprint('squares:', [int(a) ** 2 for a in sys.argv[1:]])\n").value();
    const auto result = box.process().exec(sandbox::Command("python3").args("/root/main.py", "3", "4", "5")).value();
    std::cout << result.stdout_text();
    example::expect(result.stdout_text() == "squares: [9, 16, 25]\n", "three squares");

    // Replacing is atomic: a reader sees the old content or the new one, never half of it.
    fs.write("/root/note.txt", "first\n").value();
    fs.write("/root/note.txt", "second\n").value();
    fs.append("/root/note.txt", "third\n").value();
    std::cout << "note.txt: " << fs.read("/root/note.txt").value().size() << " bytes\n";
    example::expect(fs.read_text("/root/note.txt").value() == "second\nthird\n", "the replaced and appended text");

    // A host directory goes in, and what the program made of it comes out.
    const auto work = std::filesystem::temp_directory_path() / ("sandbox-example-" + std::to_string(::getpid()) + "-files");
    std::filesystem::create_directories(work / "in/data");
    std::ofstream(work / "in/data/words") << "pear apple fig\n";
    const auto sent = fs.upload((work / "in").string(), "/root/in").value();
    box.process().exec("mkdir /root/out && tr ' ' '\\n' < /root/in/data/words | sort > /root/out/sorted").value();
    const auto received = fs.download("/root/out", (work / "out").string()).value();
    std::ifstream sorted(work / "out/sorted");
    std::string first;
    sorted >> first;
    std::filesystem::remove_all(work);
    std::cout << "sent " << sent.entries << " entries, received " << received.entries << ", first word: " << first << "\n";
    example::expect(first == "apple", "apple first");

    const auto entries = fs.list("/root").value();
    for (const auto& entry : entries) {
      std::cout << (entry.type == sandbox::FileType::directory ? "  d " : "  - ") << entry.path << "\n";
    }
    // Errors are values: the code says what to do, the text says what happened.
    const auto missing = fs.read("/root/nothing");
    example::expect(!missing && missing.error().code() == sandbox::ErrorCode::not_found, "not_found for a missing file");
    std::cout << "and a missing one: " << missing.error().to_string() << "\n";
  });
}

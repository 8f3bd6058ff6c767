#pragma once

#include <chrono>
#include <functional>

namespace sandbox {

class Command;
class Sandbox;
class Fs;
class Process;
class Env;
class Net;
class Templates;
class RunningProcess;
class Runtime;
class SandboxSpec;
class Image;
class Limits;
struct ExecResult;

using Milliseconds = std::chrono::milliseconds;

namespace driver {
class Box;     // a live sandbox, wherever it runs (lib/driver)
}

}  // namespace sandbox

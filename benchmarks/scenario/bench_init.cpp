// Process 1 of a floor container (floor.cpp). Speaks bytes on descriptor 3: says 'R' when it runs; 'x' runs /usr/bin/true
// and answers 'D'; end of file ends it.
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

int main() {
  constexpr int kControl = 3;
  char byte = 'R';
  if (::write(kControl, &byte, 1) != 1) return 1;
  while (::read(kControl, &byte, 1) == 1) {
    const pid_t pid = ::vfork();
    if (pid == 0) {
      char program[] = "/usr/bin/true";
      char* argv[] = {program, nullptr};
      char* envp[] = {nullptr};
      ::execve(program, argv, envp);
      ::_exit(127);
    }
    int status = 0;
    ::waitpid(pid, &status, 0);
    byte = status == 0 ? 'D' : 'F';
    if (::write(kControl, &byte, 1) != 1) return 1;
  }
  return 0;
}

// Built with -fsanitize=thread the emulator is a race detector: each fiber is a thread, and only barriers order them. Runs
// every kernel of broken_kernels.cu, whole and broken, in a process of its own: a race ends it with status 66.
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <vector>

#include "broken_kernels.h"

namespace {

void run_one(const broken::Case& one, bool fault) {
  const std::vector<float> in(128, 1.0f);
  std::vector<float> out(128);
  one.run(fault, in.data(), out.data());
}

int status_of(const char* program, const char* name, const char* kind) {
  const pid_t child = fork();
  if (child == 0) {
    std::fclose(stderr);
    execl(program, program, name, kind, static_cast<char*>(nullptr));
    _exit(127);
  }
  int status = 0;
  waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

}  // namespace

int main(int count, char** arguments) {
  if (count == 3) {
    for (const broken::Case& one : broken::cases())
      if (std::strcmp(one.name, arguments[1]) == 0) run_one(one, std::strcmp(arguments[2], "broken") == 0);
    return 0;
  }
  int wrong = 0;
  for (const broken::Case& one : broken::cases()) {
    // Other faults end the launch, or read what is nobody's.
    if (one.caught != broken::Caught::WrongResult && one.caught != broken::Caught::OnlyByThreadSanitizer) continue;
    const bool in_whole = status_of("/proc/self/exe", one.name, "whole") == 66;
    const bool in_broken = status_of("/proc/self/exe", one.name, "broken") == 66;
    const bool right = !in_whole && in_broken == one.race;
    std::printf("%-6s %s: race in the whole kernel %d, in the broken one %d\n", right ? "ok" : "FAILED", one.name,
                in_whole, in_broken);
    wrong += !right;
  }
  return wrong == 0 ? 0 : 1;
}

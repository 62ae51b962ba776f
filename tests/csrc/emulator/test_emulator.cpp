// The emulator: right kernels are right in every order of turns, broken ones are caught.
#include "emulator/scheduler.h"

#include <sys/wait.h>
#include <unistd.h>

#include <functional>
#include <memory>
#include <string>

#include "broken_kernels.h"
#include "emulator/sanitizers.h"
#include "testing.h"

using namespace kronla::testing;
using kronla::emulator::Failure;
using kronla::emulator::Order;
using kronla::emulator::settings;

namespace {

using broken::kThreads;

// Calls body in each order of turns, the shuffled one with several seeds.
void in_every_order(const std::function<void()>& body) {
  for (const Order order : {Order::Forward, Order::Reverse, Order::Shuffled})
    for (unsigned seed = 1; seed <= (order == Order::Shuffled ? 3 : 1); ++seed) {
      settings().order = order;
      settings().seed = seed;
      body();
    }
  settings() = {};
}

// On exactly as much memory as the kernel may touch.
std::vector<float> outcome(const broken::Case& one, bool fault) {
  const std::vector<float> values = normal<float>(kThreads, 1);
  std::unique_ptr<float[]> in(new float[kThreads]), out(new float[2 * kThreads]);
  for (int i = 0; i < kThreads; ++i) in[i] = std::round(8.0f * values[i]);  // integers: sums are exact in any order
  std::fill_n(out.get(), 2 * kThreads, -1.0f);
  one.run(fault, in.get(), out.get());
  return std::vector<float>(out.get(), out.get() + 2 * kThreads);
}

const broken::Case& named(const std::string& name) {
  for (const broken::Case& one : broken::cases())
    if (one.name == name) return one;
  throw std::invalid_argument(name);
}

// Whether body ends the process; in a child of its own, which says nothing.
bool dies(const std::function<void()>& body) {
  const pid_t child = fork();
  if (child == 0) {
    std::fclose(stderr);
    body();
    _exit(0);
  }
  int status = 0;
  waitpid(child, &status, 0);
  return !WIFEXITED(status) || WEXITSTATUS(status) != 0;
}

bool fails(const std::function<void()>& body, const std::string& sentence) {
  try {
    body();
  } catch (const Failure& failure) {
    const std::string said = failure.what();
    if (said.find(sentence) == std::string::npos) std::printf("it said: %s\n", said.c_str());
    return said.find(sentence) != std::string::npos;
  }
  return false;
}

}  // namespace

TEST(the_whole_kernels_are_right_in_every_order) {
  for (const broken::Case& one : broken::cases()) {
    const std::vector<float> first = outcome(one, false);
    in_every_order([&] { CHECK(same_bits(outcome(one, false), first)); });
    for (int i = 0; i < kThreads; ++i) CHECK(std::isfinite(first[i]));
  }
}

TEST(every_fault_is_caught) {
  for (const broken::Case& one : broken::cases()) {
    const std::vector<float> whole = outcome(one, false);
    bool wrong_in_some_order = false, caught = true;
    switch (one.caught) {
      case broken::Caught::WrongResult:
        in_every_order([&] { wrong_in_some_order |= !same_bits(outcome(one, true), whole); });
        caught = wrong_in_some_order;
        break;
      case broken::Caught::Failure:
        in_every_order([&] { caught &= fails([&] { outcome(one, true); }, one.sentence); });
        break;
      case broken::Caught::FailureOrDeath:
        caught = kronla::emulator::kAddressSanitizer ? dies([&] { outcome(one, true); })
                                                     : fails([&] { outcome(one, true); }, one.sentence);
        break;
      case broken::Caught::DeathUnderAsan:
        caught = !kronla::emulator::kAddressSanitizer || dies([&] { outcome(one, true); });
        break;
      case broken::Caught::OnlyByThreadSanitizer:
        break;
    }
    if (!caught) std::printf("not caught: %s\n", one.name);
    CHECK(caught);
  }
}

TEST(a_failure_names_the_file_and_the_line) {
  for (const char* part : {"broken_kernels.cu:", "in divergent_barrier", "32 of 64 have ended"})
    CHECK(fails([] { outcome(named("divergent_barrier"), true); }, part));
}

TEST(after_a_failure_the_next_launch_is_right) {
  const broken::Case& one = named("divergent_barrier");
  for (int i = 0; i < 3; ++i) {
    CHECK(fails([&] { outcome(one, true); }, ""));
    CHECK(same_bits(outcome(one, false), outcome(one, false)));
  }
}

TEST(launches_that_no_device_takes_are_refused) {
  using kronla::emulator::Index3;
  using kronla::emulator::run;
  const auto nothing = [] {};
  CHECK(fails([&] { run("k", Index3(1), Index3(48), 0, nothing); }, "in whole warps"));
  CHECK(fails([&] { run("k", Index3(1), Index3(2048), 0, nothing); }, "32 to 1024 threads"));
  CHECK(fails([&] { run("k", Index3(0), Index3(32), 0, nothing); }, "grid"));
  CHECK(fails([&] { run("k", Index3(1), Index3(32), 300000, nothing); }, "bytes of shared memory"));
}

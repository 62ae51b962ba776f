#pragma once

#include <functional>
#include <vector>

namespace broken {

// How the emulator shows a fault: by a result that is wrong in at least one order of turns; by an exception; by the end of
// the process under AddressSanitizer (and an exception without it); or by ThreadSanitizer alone.
enum class Caught { WrongResult, Failure, FailureOrDeath, DeathUnderAsan, OnlyByThreadSanitizer };

// A kernel of one block of 64 threads that reads 64 floats and writes 64 or 128, with or without its fault.
struct Case {
  const char* name;
  std::function<void(bool fault, const float* in, float* out)> run;
  Caught caught;
  const char* sentence;  // a part of the exception's
  bool race;             // ThreadSanitizer reports it
};

const std::vector<Case>& cases();

}  // namespace broken

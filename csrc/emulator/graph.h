// CUDA graphs on the emulator: launches that are kept instead of run, to be run again and again.
//
// A launch is kept with its arguments by value, as CUDA keeps it. So whatever a launcher read or computed on the host is
// as it was at the capture, and pointers to memory that has gone are seen by AddressSanitizer at the replay.
#pragma once

#include <functional>
#include <utility>
#include <vector>

#include "emulator/scheduler.h"

namespace kronla::emulator {

class Graph {
 public:
  // The launches that body() makes.
  template <class Body>
  void capture(Body&& body) {
    launches_.clear();
    const struct Recording {
      explicit Recording(Graph* graph) { recording() = graph; }
      ~Recording() { recording() = nullptr; }
    } on(this);
    body();
  }
  void replay() const {
    for (const auto& launch : launches_) launch();
  }

  // Runs a launch, or keeps it for the graph that is being captured.
  static void submit(std::function<void()> launch) {
    if (recording() == nullptr) return launch();
    recording()->launches_.push_back(std::move(launch));
  }

 private:
  static Graph*& recording() {
    thread_local Graph* graph = nullptr;
    return graph;
  }
  std::vector<std::function<void()>> launches_;
};

}  // namespace kronla::emulator

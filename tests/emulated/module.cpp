// kronla_emulated: the launchers of the CUDA kernels on NumPy arrays, run by the host emulator. Only for tests.
#include "emulator/scheduler.h"
#include "families.h"

namespace kronla::emulated {
namespace {

void set_order(const std::string& order, unsigned seed) {
  using emulator::Order;
  if (order != "forward" && order != "reverse" && order != "shuffled")
    throw py::value_error("order must be 'forward', 'reverse' or 'shuffled'.");
  emulator::settings().order = order == "forward"   ? Order::Forward
                               : order == "reverse" ? Order::Reverse
                                                    : Order::Shuffled;
  emulator::settings().seed = seed;
}

}  // namespace
}  // namespace kronla::emulated

PYBIND11_MODULE(kronla_emulated, m) {
  using namespace kronla::emulated;
  m.def("set_order", &set_order, py::arg("order"), py::arg("seed") = 1u);
  register_factors(m);
  register_apply(m);
  register_eigenbasis(m);
  register_inverse_root(m);
  register_rearrangement(m);
}

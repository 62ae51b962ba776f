// kronla_emulated: the launchers of the CUDA kernels on NumPy arrays, run by the host emulator. Only for tests.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "device_memory.h"
#include "emulator/scheduler.h"
#include "kernels/cuda/apply.h"
#include "kernels/cuda/factors.h"

namespace py = pybind11;

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

// Calls f(T{}) with the accumulator's type.
template <class F>
void with_accumulator(const py::array& array, F&& f) {
  if (array.dtype().is(py::dtype::of<float>())) return f(float{});
  if (array.dtype().is(py::dtype::of<double>())) return f(double{});
  throw py::type_error("an accumulator must be float32 or float64.");
}

// (F [batch, dim, dim], G, type of G, batch, outer, dim, inner, W or None)
using Factor = std::tuple<py::array, py::array, int, int64_t, int64_t, int64_t, int64_t, py::object>;

void update_factors(std::vector<Factor> factors, double beta, double alpha) {
  if (factors.empty()) return;
  with_accumulator(std::get<0>(factors[0]), [&](auto zero) {
    using T = decltype(zero);
    Device device;
    std::vector<FactorGroup<T>> groups;
    for (auto& [F, G, type, batch, outer, dim, inner, W] : factors) {
      groups.push_back({batch, outer, dim, inner, static_cast<T*>(device.in_place(F)), device.input(G),
                        static_cast<ScalarType>(type), static_cast<const T*>(device.input(W))});
    }
    cuda::update_factors(groups, beta, alpha, device.stream());
    device.finish();
  });
}

void kron_power_step(py::array G, int type, int64_t batch, int64_t samples, int64_t m, int64_t n, py::array L,
                     py::array R, py::array L_next, py::array R_next) {
  with_accumulator(L, [&](auto zero) {
    using T = decltype(zero);
    Device device;
    cuda::kron_power_step<T>({batch, samples, m, n, device.input(G), static_cast<ScalarType>(type),
                              static_cast<const T*>(device.input(L)), static_cast<const T*>(device.input(R)),
                              static_cast<T*>(device.output(L_next)), static_cast<T*>(device.output(R_next)), nullptr},
                             device.stream());
    device.finish();
  });
}

// (dimension, rows, M, transposed)
using Mode = std::tuple<int64_t, int64_t, py::array, bool>;
// (G, type of G, batch, dims, modes, out)
using Application = std::tuple<py::array, int, int64_t, std::vector<int64_t>, std::vector<Mode>, py::array>;

void apply_modes(std::vector<Application> applications) {
  if (applications.empty()) return;
  with_accumulator(std::get<5>(applications[0]), [&](auto zero) {
    using T = decltype(zero);
    Device device;
    std::vector<ApplyGroup<T>> groups;
    for (auto& [G, type, batch, dims, modes, out] : applications) {
      ApplyGroup<T> group{
          batch, dims, device.input(G), static_cast<ScalarType>(type), {}, static_cast<T*>(device.output(out))};
      for (auto& [dim, rows, M, transposed] : modes)
        group.factors.push_back({dim, rows, static_cast<const T*>(device.input(M)), transposed});
      order_by_shrinkage(group);
      groups.push_back(std::move(group));
    }
    cuda::apply_modes(groups, device.stream());
    device.finish();
  });
}

}  // namespace
}  // namespace kronla::emulated

PYBIND11_MODULE(kronla_emulated, m) {
  using namespace kronla::emulated;
  m.def("set_order", &set_order, py::arg("order"), py::arg("seed") = 1u);
  m.def("update_factors", &update_factors);
  m.def("kron_power_step", &kron_power_step);
  m.def("apply_modes", &apply_modes);
}

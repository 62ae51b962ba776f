#include "kernels/cuda/factors.h"

#include "families.h"

namespace kronla::emulated {
namespace {

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

}  // namespace

void register_factors(py::module_& m) {
  m.def("update_factors", &update_factors);
  m.def("kron_power_step", &kron_power_step);
}

}  // namespace kronla::emulated

#include "kernels/cuda/eigenbasis.h"

#include "families.h"

namespace kronla::emulated {
namespace {

// (A, Q or None, method, batch, n, Q, eigenvalues, ratio, steps, info), the results last
using Bases =
    std::tuple<py::array, py::object, int, int64_t, int64_t, py::array, py::array, py::array, py::array, py::array>;

template <class T>
std::vector<BasisGroup<T>> groups_of(Device& device, std::vector<Bases>& bases) {
  std::vector<BasisGroup<T>> groups;
  for (auto& [A, Q_old, method, batch, n, Q, eigenvalues, ratio, steps, info] : bases)
    groups.push_back({batch, n, static_cast<const T*>(device.input(A)), static_cast<const T*>(device.input(Q_old)),
                      static_cast<BasisMethod>(method), static_cast<T*>(device.output(Q)),
                      static_cast<T*>(device.output(eigenvalues)), static_cast<T*>(device.output(ratio)),
                      static_cast<int32_t*>(device.output(steps)), static_cast<int32_t*>(device.output(info))});
  return groups;
}

void update_eigenbasis(std::vector<Bases> bases, double tol, int64_t max_steps) {
  if (bases.empty()) return;
  with_accumulator(std::get<0>(bases[0]), [&](auto zero) {
    Device device;
    cuda::update_eigenbasis(groups_of<decltype(zero)>(device, bases), tol, max_steps, device.stream());
    device.finish();
  });
}

void eigh(std::vector<Bases> bases) {
  if (bases.empty()) return;
  with_accumulator(std::get<0>(bases[0]), [&](auto zero) {
    Device device;
    cuda::eigh(groups_of<decltype(zero)>(device, bases), device.stream());
    device.finish();
  });
}

void off_diagonal_ratio(int64_t batch, int64_t n, py::array A, py::array Q, py::array ratio) {
  with_accumulator(A, [&](auto zero) {
    using T = decltype(zero);
    Device device;
    const auto *A_in = static_cast<const T*>(device.input(A)), *Q_in = static_cast<const T*>(device.input(Q));
    cuda::off_diagonal_ratio<T>(batch, n, A_in, Q_in, static_cast<T*>(device.output(ratio)), device.stream());
    device.finish();
  });
}

void orthonormalize(int64_t batch, int64_t m, int64_t n, py::array S, py::array Q, py::array info) {
  with_accumulator(S, [&](auto zero) {
    using T = decltype(zero);
    Device device;
    cuda::orthonormalize<T>(batch, m, n, static_cast<const T*>(device.input(S)), static_cast<T*>(device.output(Q)),
                            static_cast<int32_t*>(device.output(info)), device.stream());
    device.finish();
  });
}

}  // namespace

void register_eigenbasis(py::module_& m) {
  m.def("update_eigenbasis", &update_eigenbasis);
  m.def("eigh", &eigh);
  m.def("off_diagonal_ratio", &off_diagonal_ratio);
  m.def("orthonormalize", &orthonormalize);
}

}  // namespace kronla::emulated

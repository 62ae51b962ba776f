#include "kernels/cuda/inverse_root.h"

#include "families.h"

namespace kronla::emulated {
namespace {

// (A, fallback or None, method, batch, n, X, residual, steps, info)
using Matrices = std::tuple<py::array, py::object, int, int64_t, int64_t, py::array, py::array, py::array, py::array>;
// (p, r, s, damping, relative_damping, rtol, max_steps)
using Options = std::tuple<double, int64_t, int64_t, double, double, double, int64_t>;

void inverse_root(std::vector<Matrices> matrices, const Options& given) {
  if (matrices.empty()) return;
  const auto& [p, r, s, damping, relative_damping, rtol, max_steps] = given;
  const RootOptions options{p, r, s, damping, relative_damping, rtol, max_steps};
  with_accumulator(std::get<0>(matrices[0]), [&](auto zero) {
    using T = decltype(zero);
    Device device;
    std::vector<RootGroup<T>> groups;
    for (auto& [A, fallback, method, batch, n, X, residual, steps, info] : matrices) {
      groups.push_back({batch, n, static_cast<const T*>(device.input(A)), static_cast<const T*>(device.input(fallback)),
                        static_cast<RootMethod>(method), static_cast<T*>(device.output(X)),
                        static_cast<T*>(device.output(residual)), static_cast<int32_t*>(device.output(steps)),
                        static_cast<int32_t*>(device.output(info))});
    }
    cuda::inverse_root(groups, options, device.stream());
    device.finish();
  });
}

}  // namespace

void register_inverse_root(py::module_& m) { m.def("inverse_root", &inverse_root); }

}  // namespace kronla::emulated

#include "kernels/cuda/apply.h"

#include "families.h"

namespace kronla::emulated {
namespace {

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

void register_apply(py::module_& m) { m.def("apply_modes", &apply_modes); }

}  // namespace kronla::emulated

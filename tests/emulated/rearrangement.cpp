#include "kernels/cuda/rearrangement.h"

#include "families.h"

namespace kronla::emulated {
namespace {

void rearrange(int64_t batch, int64_t m, int64_t n, py::array H, py::array result) {
  with_accumulator(H, [&](auto zero) {
    using T = decltype(zero);
    Device device;
    const auto* from = static_cast<const T*>(device.input(H));
    cuda::rearrange<T>(batch, m, n, from, static_cast<T*>(device.output(result)), device.stream());
    device.finish();
  });
}

void unrearrange(int64_t batch, int64_t m, int64_t n, py::array M, py::array result) {
  with_accumulator(M, [&](auto zero) {
    using T = decltype(zero);
    Device device;
    const auto* from = static_cast<const T*>(device.input(M));
    cuda::unrearrange<T>(batch, m, n, from, static_cast<T*>(device.output(result)), device.stream());
    device.finish();
  });
}

void rearranged_matvec(int64_t batch, int64_t m, int64_t n, py::array H, py::array R, py::array L) {
  with_accumulator(H, [&](auto zero) {
    using T = decltype(zero);
    Device device;
    const auto *H_in = static_cast<const T*>(device.input(H)), *R_in = static_cast<const T*>(device.input(R));
    cuda::rearranged_matvec<T>(batch, m, n, H_in, R_in, static_cast<T*>(device.output(L)), device.stream());
    device.finish();
  });
}

void rearranged_rmatvec(int64_t batch, int64_t m, int64_t n, py::array H, py::array L, py::array R) {
  with_accumulator(H, [&](auto zero) {
    using T = decltype(zero);
    Device device;
    const auto *H_in = static_cast<const T*>(device.input(H)), *L_in = static_cast<const T*>(device.input(L));
    cuda::rearranged_rmatvec<T>(batch, m, n, H_in, L_in, static_cast<T*>(device.output(R)), device.stream());
    device.finish();
  });
}

template <class T>
NearestKronecker<T> pair_on(Device& device, int64_t batch, int64_t m, int64_t n, py::array& L, py::array& R,
                            py::array& sigma, py::array& cosine, py::array& info) {
  return {batch,
          m,
          n,
          static_cast<T*>(device.in_place(L)),
          static_cast<T*>(device.in_place(R)),
          static_cast<T*>(device.output(sigma)),
          static_cast<T*>(device.output(cosine)),
          static_cast<int32_t*>(device.output(info))};
}

void nearest_kronecker(int64_t batch, int64_t m, int64_t n, py::array L, py::array R, py::array sigma, py::array cosine,
                       py::array info, py::array H, int64_t steps) {
  with_accumulator(L, [&](auto zero) {
    using T = decltype(zero);
    Device device;
    const auto pair = pair_on<T>(device, batch, m, n, L, R, sigma, cosine, info);
    cuda::nearest_kronecker<T>(pair, static_cast<const T*>(device.input(H)), steps, device.stream());
    device.finish();
  });
}

void nearest_kronecker_from_gradients(int64_t batch, int64_t m, int64_t n, py::array L, py::array R, py::array sigma,
                                      py::array cosine, py::array info, int64_t samples, py::array G, int type,
                                      int64_t steps) {
  with_accumulator(L, [&](auto zero) {
    using T = decltype(zero);
    Device device;
    const auto pair = pair_on<T>(device, batch, m, n, L, R, sigma, cosine, info);
    cuda::nearest_kronecker_from_gradients<T>(pair, samples, device.input(G), static_cast<ScalarType>(type), steps,
                                              device.stream());
    device.finish();
  });
}

}  // namespace

void register_rearrangement(py::module_& m) {
  m.def("rearrange", &rearrange);
  m.def("unrearrange", &unrearrange);
  m.def("rearranged_matvec", &rearranged_matvec);
  m.def("rearranged_rmatvec", &rearranged_rmatvec);
  m.def("nearest_kronecker", &nearest_kronecker);
  m.def("nearest_kronecker_from_gradients", &nearest_kronecker_from_gradients);
}

}  // namespace kronla::emulated

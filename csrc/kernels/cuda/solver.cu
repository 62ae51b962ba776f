#include "kernels/cuda/solver.h"

#include <algorithm>
#include <stdexcept>
#include <vector>

#include "kernels/cuda/device/platform.cuh"

#if defined(__CUDACC__)
#include <dlfcn.h>

#include <map>
#include <mutex>
#include <utility>
#endif

namespace kronla::cuda {

#if defined(__CUDACC__)
namespace {

// As cusolverDn.h of cuSOLVER 12.0 declares them; XsyevBatched came with 11.7.1 (CUDA 12.6.2). The header does not come
// with every toolkit, and the enums are ints.
using Handle = void*;
using Parameters = void*;
constexpr int kEigenvectors = 1;                          // CUSOLVER_EIG_MODE_VECTOR
constexpr int kLower = 0;                                 // CUBLAS_FILL_MODE_LOWER
constexpr int kStatusSuccess = 0, kStatusAllocation = 2;  // CUSOLVER_STATUS_…

struct Library {
  int (*create)(Handle*) = nullptr;
  int (*create_parameters)(Parameters*) = nullptr;
  int (*set_stream)(Handle, cudaStream_t) = nullptr;
  int (*get_property)(int, int*) = nullptr;
  int (*buffer_size)(Handle, Parameters, int, int, int64_t, cudaDataType, const void*, int64_t, cudaDataType,
                     const void*, cudaDataType, size_t*, size_t*, int64_t) = nullptr;
  int (*solve)(Handle, Parameters, int, int, int64_t, cudaDataType, void*, int64_t, cudaDataType, void*, cudaDataType,
               void*, size_t, void*, size_t, int*, int64_t) = nullptr;
  std::string missing;  // why it cannot be used; empty where it can
};

// The one of this CUDA version.
constexpr const char* kFile = CUDART_VERSION >= 13000 ? "libcusolver.so.12" : "libcusolver.so.11";

// A library that is loaded already (torch loads it) or where the loader looks; else beside the CUDA runtime that this
// module uses: the toolkit and the wheels of CUDA 13 keep both in one folder, those of CUDA 12 in two neighbours.
void* open_library() {
  if (void* library = dlopen(kFile, RTLD_NOW | RTLD_LOCAL)) return library;
  Dl_info runtime;
  if (dladdr(reinterpret_cast<const void*>(&cudaGetDevice), &runtime) == 0 || runtime.dli_fname == nullptr)
    return nullptr;
  std::string folder(runtime.dli_fname);
  folder.resize(folder.rfind('/') == std::string::npos ? 0 : folder.rfind('/') + 1);
  for (const std::string& where : {folder, folder + "../../cusolver/lib/"})
    if (void* library = dlopen((where + kFile).c_str(), RTLD_NOW | RTLD_LOCAL)) return library;
  return nullptr;
}

Library load_library() {
  Library library;
  void* file = open_library();
  if (file == nullptr) {
    library.missing = std::string(kFile) + " was not found: install cuSOLVER, or put its folder into LD_LIBRARY_PATH";
    return library;
  }
  const auto find = [&](const char* name, auto& function) {
    function = reinterpret_cast<std::decay_t<decltype(function)>>(dlsym(file, name));
    if (function == nullptr)
      library.missing = std::string(kFile) + " has no " + name + ": CUDA 12.6.2 or later is needed";
  };
  find("cusolverDnCreate", library.create);
  find("cusolverDnCreateParams", library.create_parameters);
  find("cusolverDnSetStream", library.set_stream);
  find("cusolverGetProperty", library.get_property);
  find("cusolverDnXsyevBatched_bufferSize", library.buffer_size);
  find("cusolverDnXsyevBatched", library.solve);
  return library;
}

const Library& library() {
  static const Library loaded = load_library();  // never unloaded: handles live as long as the process
  return loaded;
}

void check_solver(int status, const char* function) {
  if (status == kStatusSuccess) return;
  throw std::runtime_error(std::string("kronla: ") + function + " failed with cuSOLVER's status " +
                           std::to_string(status) +
                           (status == kStatusAllocation ? ": there is not enough device memory." : "."));
}

// A handle for one call, from a pool that lives as long as the process: of this device, so that its memory is there,
// and of this stream, so that two streams never share a handle's own workspace; and used by one thread at a time.
class Borrowed {
 public:
  explicit Borrowed(void* stream) {
    int device = 0;
    check(cudaGetDevice(&device), "cudaGetDevice");
    place_ = {device, stream};
    {
      const std::lock_guard<std::mutex> lock(mutex());
      auto& idle = pool()[place_];
      if (!idle.empty()) {
        pair_ = idle.back();
        idle.pop_back();
        return;
      }
    }
    check_solver(library().create(&pair_.first), "cusolverDnCreate");
    check_solver(library().create_parameters(&pair_.second), "cusolverDnCreateParams");
    check_solver(library().set_stream(pair_.first, static_cast<cudaStream_t>(stream)), "cusolverDnSetStream");
  }
  ~Borrowed() {
    if (pair_.second == nullptr) return;
    const std::lock_guard<std::mutex> lock(mutex());
    pool()[place_].push_back(pair_);
  }
  Borrowed(const Borrowed&) = delete;
  Borrowed& operator=(const Borrowed&) = delete;
  Handle handle() const { return pair_.first; }
  Parameters parameters() const { return pair_.second; }

 private:
  using Place = std::pair<int, void*>;
  using Pair = std::pair<Handle, Parameters>;
  // Not destroyed at exit, when the driver may be gone before us.
  static std::map<Place, std::vector<Pair>>& pool() {
    static auto* pool = new std::map<Place, std::vector<Pair>>;
    return *pool;
  }
  static std::mutex& mutex() {
    static auto* mutex = new std::mutex;
    return *mutex;
  }
  Place place_;
  Pair pair_{};
};

// cuSOLVER wants n · ld · batch ≤ INT32_MAX, says its manual; and refuses more than about 32,000 matrices, which it
// does not say (seen by others on CUDA 12).
constexpr int64_t kMostElements = 0x7fffffff, kMostMatrices = 16384;

}  // namespace

template <class T>
void solve_symmetric(const SolverBatch<T>& problem, const Stream& stream) {
  if (problem.batch == 0 || problem.n == 0) return;
  if (!library().missing.empty())
    throw std::runtime_error("kronla: an eigendecomposition of this size needs cuSOLVER, but " + library().missing +
                             ".");
  constexpr cudaDataType kType = sizeof(T) == 8 ? CUDA_R_64F : CUDA_R_32F;
  const Borrowed solver(stream.handle);
  const int64_t n = problem.n, ld = problem.ld, elements = n * ld;
  const int64_t most = std::min(std::max<int64_t>(kMostElements / elements, 1), kMostMatrices);
  const int64_t largest = std::min(most, problem.batch);
  size_t device_bytes = 0, host_bytes = 0;
  check_solver(library().buffer_size(solver.handle(), solver.parameters(), kEigenvectors, kLower, n, kType, problem.V,
                                     ld, kType, problem.values, kType, &device_bytes, &host_bytes, largest),
               "cusolverDnXsyevBatched_bufferSize");
  void* workspace = stream.take<unsigned char>(device_bytes);
  std::vector<unsigned char> on_host(host_bytes);
  for (int64_t begin = 0; begin < problem.batch; begin += most) {
    // cuSOLVER 11.7.1 reads its workspace before it writes to it (found by others; mended in 11.7.3).
    if (device_bytes > 0)
      check(cudaMemsetAsync(workspace, 0, device_bytes, static_cast<cudaStream_t>(stream.handle)), "cudaMemsetAsync");
    check_solver(library().solve(solver.handle(), solver.parameters(), kEigenvectors, kLower, n, kType,
                                 problem.V + begin * elements, ld, kType, problem.values + begin * n, kType, workspace,
                                 device_bytes, on_host.data(), host_bytes, problem.failed + begin,
                                 std::min(most, problem.batch - begin)),
                 "cusolverDnXsyevBatched");
  }
}

std::string solver_version() {
  if (!library().missing.empty()) return "";
  std::string version;
  for (const int part : {0, 1, 2}) {  // MAJOR_VERSION, MINOR_VERSION, PATCH_LEVEL of library_types.h
    int number = 0;
    if (library().get_property(part, &number) != kStatusSuccess) return "";
    version += (part > 0 ? "." : "") + std::to_string(number);
  }
  return version;
}

#else

template <class T>
void solve_symmetric(const SolverBatch<T>&, const Stream&) {
  throw std::runtime_error("kronla: an eigendecomposition of this size needs cuSOLVER, which the emulator has not.");
}

std::string solver_version() { return ""; }

#endif

template void solve_symmetric<float>(const SolverBatch<float>&, const Stream&);
template void solve_symmetric<double>(const SolverBatch<double>&, const Stream&);

}  // namespace kronla::cuda

// A whole refresh of a ragged list, captured once: factors, their roots and bases, and gradients multiplied by the roots.
// Replays on other numbers in the same memory give the bits of a run without a graph.
#include "device.h"
#include "kernels/cuda/apply.h"
#include "kernels/cuda/eigenbasis.h"
#include "kernels/cuda/factors.h"
#include "kernels/cuda/inverse_root.h"
#include "kernels/cuda/inverse_root_plan.h"
#include "testing.h"

using namespace kronla;
using namespace kronla::testing;

namespace {

struct Shape {
  int64_t batch, m, n;
};
// Gradients, one a batch, whose factors take one block each, and tiles: bases above 64, roots above what a block holds.
std::vector<Shape> shapes() { return {{1, 3, 5}, {2, 20, 9}, {1, 33, 66}, {1, cuda::largest_in_block() + 2, 4}}; }

// A factor with what comes of it. The numbers follow from the seed alone.
struct Side {
  int64_t batch, n;
  DeviceArray<float> A, Q_old, root, residual, Q, eigenvalues, ratio;
  DeviceArray<int32_t> root_steps, root_info, steps, info;
  Side(int64_t batch_, int64_t n_)
      : batch(batch_),
        n(n_),
        A(std::vector<float>(batch * n * n)),
        Q_old(A.values()),
        root(A.values()),
        residual(std::vector<float>(batch)),
        Q(A.values()),
        eigenvalues(std::vector<float>(batch * n)),
        ratio(residual.values()),
        root_steps(std::vector<int32_t>(batch)),
        root_info(root_steps.values()),
        steps(root_steps.values()),
        info(root_steps.values()) {}

  void load(unsigned seed) {
    A.assign(definite<float>(batch, n, 0.1, seed));
    std::vector<float> bases;
    for (int64_t b = 0; b < batch; ++b)
      for (const double x : orthogonal(n, seed + static_cast<unsigned>(b))) bases.push_back(static_cast<float>(x));
    Q_old.assign(bases);
  }
  RootGroup<float> root_group() const {
    return {
        batch,           n, A.data(), nullptr, RootMethod::Polynomial, root.data(), residual.data(), root_steps.data(),
        root_info.data()};
  }
  BasisGroup<float> basis_group() const {
    return {batch,
            n,
            A.data(),
            Q_old.data(),
            BasisMethod::Automatic,
            Q.data(),
            eigenvalues.data(),
            ratio.data(),
            steps.data(),
            info.data()};
  }
};

struct Layer {
  Shape shape;
  Side left, right;
  DeviceArray<float> G, result;
  explicit Layer(const Shape& s)
      : shape(s),
        left(s.batch, s.m),
        right(s.batch, s.n),
        G(std::vector<float>(s.batch * s.m * s.n)),
        result(G.values()) {}
};

class Refresh {
 public:
  Refresh() {
    for (const Shape& shape : shapes()) layers_.push_back(std::make_unique<Layer>(shape));
  }

  void load(unsigned seed) {
    for (const auto& layer : layers_) {
      layer->left.load(seed);
      layer->right.load(seed + 1);
      layer->G.assign(normal<float>(static_cast<int64_t>(layer->G.size()), seed + 2));
      layer->result.assign(std::vector<float>(layer->G.size(), -7.0f));
      seed += 10;
    }
  }

  void enqueue(const cuda::Stream& stream) const {
    std::vector<FactorGroup<float>> factors;
    std::vector<RootGroup<float>> roots;
    std::vector<BasisGroup<float>> bases;
    std::vector<ApplyGroup<float>> products;
    for (const auto& layer : layers_) {
      const auto& [batch, m, n] = layer->shape;
      const ScalarType type = ScalarType::Float32;
      factors.push_back({batch, 1, m, n, layer->left.A.data(), layer->G.data(), type, nullptr});
      factors.push_back({batch, m, n, 1, layer->right.A.data(), layer->G.data(), type, nullptr});
      for (const Side* side : {&layer->left, &layer->right}) {
        roots.push_back(side->root_group());
        bases.push_back(side->basis_group());
      }
      products.push_back({batch,
                          {m, n},
                          layer->G.data(),
                          type,
                          {{0, m, layer->left.root.data(), false}, {1, n, layer->right.root.data(), true}},
                          layer->result.data()});
    }
    RootOptions options{};
    options.p = 4;
    options.r = 4;
    options.s = 1;
    options.relative_damping = 1e-6;
    options.max_steps = 100;
    cuda::update_factors(factors, 0.9, 0.1, stream);
    cuda::inverse_root(roots, options, stream);
    cuda::update_eigenbasis(bases, 0.0, 1, stream);
    cuda::apply_modes(products, stream);
  }

  // Everything that it writes, one after the other.
  std::vector<float> results() const {
    std::vector<float> all;
    const auto add = [&](const auto& array) {
      for (const auto x : array.values()) all.push_back(static_cast<float>(x));
    };
    for (const auto& layer : layers_) {
      for (const Side* side : {&layer->left, &layer->right}) {
        for (const auto* array : {&side->A, &side->root, &side->residual, &side->Q, &side->eigenvalues, &side->ratio})
          add(*array);
        for (const auto* array : {&side->root_steps, &side->root_info, &side->steps, &side->info}) add(*array);
      }
      add(layer->result);
    }
    return all;
  }

 private:
  std::vector<std::unique_ptr<Layer>> layers_;
};

// Numbers such as a refresh has them: none is what the arrays held before, nor NaN.
bool plausible(const std::vector<float>& results) {
  bool finite = true;
  for (const float x : results) finite = finite && std::isfinite(x) && x != -7.0f;
  return finite;
}

TEST(a_captured_refresh_replays_on_other_numbers) {
  limit_shared_memory(163 * 1024);  // as sm_80 has it: tiles at 98 already
  Refresh refresh;
  Graph graph;
  TestStream stream(graph.stream());
  std::vector<std::vector<float>> expected;
  for (const unsigned seed : {100u, 200u}) {
    refresh.load(seed);
    stream.rewind();
    Graph::synchronize();
    refresh.enqueue(stream);
    Graph::synchronize();
    expected.push_back(refresh.results());
    CHECK(plausible(expected.back()));
  }
  CHECK(!same_bits(expected[0], expected[1]));
  refresh.load(300);
  const std::vector<float> loaded = refresh.results();
  stream.rewind();
  graph.capture([&] { refresh.enqueue(stream); });
  CHECK(same_bits(refresh.results(), loaded));  // nothing has run yet
  for (const size_t i : {1, 0}) {
    refresh.load(i == 0 ? 100 : 200);
    graph.replay();
    CHECK(same_bits(refresh.results(), expected[i]));
  }
}

}  // namespace

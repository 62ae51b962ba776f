#include "kernels/cpu/batch.h"

#include <map>
#include <mutex>
#include <thread>
#include <utility>

#include "testing.h"

using namespace kronla;
using namespace kronla::testing;

namespace {

struct Group {
  int64_t batch, cost;
};
using Place = std::pair<size_t, int64_t>;  // which group, which matrix

int64_t cost(const Group& group) { return group.cost; }

// How often each matrix was done; CHECKs that one which was said to be next is what its thread does next.
std::map<Place, int> count_turns(const std::vector<Group>& groups, double early, const Parallel& parallel) {
  std::map<Place, int> turns;
  std::map<std::thread::id, Matrix<Group>> promised;
  std::mutex mutex;
  bool kept = true;
  for_each_matrix_and_next(
      parallel, groups, cost, early, [&](const Matrix<Group>& matrix, const Matrix<Group>& next, Worker& worker) {
        const std::lock_guard<std::mutex> lock(mutex);
        ++turns[{matrix.group - groups.data(), matrix.index}];
        if (worker.team.threads > 1) return;
        Matrix<Group>& promise = promised[std::this_thread::get_id()];
        kept = kept && (promise.group == nullptr || (promise.group == matrix.group && promise.index == matrix.index));
        promise = next;
      });
  for (const auto& [_, promise] : promised) kept = kept && promise.group == nullptr;
  CHECK(kept);
  return turns;
}

// Small and large ones, groups of one and of none, one that costs nothing.
const std::vector<Group> kRagged = {{3, 100000},  {0, 5},  {500, 1000}, {1, 9000000}, {7, 0},
                                    {40, 300000}, {1, 70}, {1, 80},     {0, 1},       {2, 4100000}};

TEST(every_matrix_has_one_turn_and_the_next_is_as_promised) {
  for (const double early : {0.0, 4e6})
    for (const Parallel& parallel : {serial(), threads(2), threads(5)}) {
      const std::map<Place, int> turns = count_turns(kRagged, early, parallel);
      size_t matrices = 0;
      for (size_t g = 0; g < kRagged.size(); ++g)
        for (int64_t i = 0; i < kRagged[g].batch; ++i, ++matrices)
          CHECK(turns.count({g, i}) == 1 && turns.at({g, i}) == 1);
      CHECK(turns.size() == matrices);
    }
  CHECK(count_turns({}, 4e6, threads(2)).empty());
  CHECK(count_turns({{0, 3}}, 4e6, threads(2)).empty());
}

TEST(the_next_matrix_is_known_all_along_where_that_is_asked_for) {
  int64_t unknown = 0;
  const std::vector<Group> groups = {{100, 200000}, {1, 1000}, {1, 900}, {50, 3000}};
  for_each_matrix_and_next(serial(), groups, cost, 4e6, [&](const Matrix<Group>&, const Matrix<Group>& next, Worker&) {
    unknown += next.group == nullptr;
  });
  CHECK(unknown == 1);  // of the last
}

TEST(the_dearest_come_first_and_bundles_end_small) {
  const Pieces<Group> pieces(kRagged, cost, 2);
  const std::vector<double>& costs = pieces.costs();
  CHECK(costs.front() == 9e6 && costs[1] == 4.1e6);
  for (size_t i = 3; i < costs.size(); ++i) CHECK(costs[i] <= 5e5);
  const Pieces<Group> many({{2000, 1000}}, cost, 2);
  CHECK(many.costs().front() == 2.5e5 && many.costs().back() <= 1e5);
  double sum = 0.0;
  for (const double c : many.costs()) sum += c;
  CHECK(sum == 2e6 && many.work() == 2e6);
}

TEST(an_exception_ends_the_dealing_and_arrives) {
  bool arrived = false;
  try {
    for_each_matrix_and_next(threads(3), kRagged, cost, 4e6, [&](const Matrix<Group>& matrix, const auto&, Worker&) {
      if (matrix.group == &kRagged[2] && matrix.index == 250) throw std::runtime_error("no");
    });
  } catch (const std::runtime_error&) {
    arrived = true;
  }
  CHECK(arrived);
}

}  // namespace

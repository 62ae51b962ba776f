#include "kernels/cpu/worker.h"

#include <random>

#include "testing.h"

using namespace kronla;

namespace {

struct Piece {
  unsigned char* begin;
  size_t size;
  unsigned char mark;
};

bool is_intact(const Piece& piece) {
  for (size_t i = 0; i < piece.size; ++i)
    if (piece.begin[i] != piece.mark) return false;
  return true;
}

// Takes and gives back at random, in scopes within scopes; each piece is still as it was filled when its scope ends. Returns
// the most bytes in use.
size_t wander(Worker& worker, std::mt19937& random, int depth, size_t in_use) {
  const Worker::Scope scope(worker);
  std::vector<Piece> pieces;
  size_t most = in_use;
  for (int turn = 0; turn < 4; ++turn) {
    const size_t size = size_t{1} << (random() % 19);
    const auto mark = static_cast<unsigned char>(random());
    pieces.push_back({worker.take<unsigned char>(static_cast<int64_t>(size)), size, mark});
    std::fill_n(pieces.back().begin, size, mark);
    most = std::max(most, in_use += (size + 63) / 64 * 64);
    if (depth > 0) most = std::max(most, wander(worker, random, depth - 1, in_use));
  }
  for (const Piece& piece : pieces) CHECK(is_intact(piece));
  return most;
}

TEST(pieces_stay_apart_and_scopes_give_back) {
  std::mt19937 random(1);
  for (int run = 0; run < 20; ++run) {
    Worker worker;
    wander(worker, random, 4, 0);
  }
}

TEST(the_second_matrix_needs_no_more_memory) {
  for (unsigned seed = 0; seed < 20; ++seed) {
    Worker worker;
    std::mt19937 random(seed);
    const size_t most = wander(worker, random, 3, 0);
    worker.reset();
    const size_t held = worker.held();
    CHECK(held >= most && held <= 4 * most);
    random.seed(seed);
    wander(worker, random, 3, 0);
    CHECK(worker.held() == held);
  }
}

TEST(what_was_given_back_is_not_kept_beside_what_is_larger) {
  Worker worker;
  const int64_t least = 1 << 20;
  for (int64_t size = least; size <= 8 * least; size += least) {
    const Worker::Scope scope(worker);
    worker.take<char>(size);
    CHECK(worker.held() == static_cast<size_t>(size));
  }
}

}  // namespace

// A ragged list of matrices cut into tiles, one block each, and passed in the kernel's parameters.
#pragma once

#include <vector>

#include "kernels/cuda/device/platform.cuh"

namespace kronla::cuda {

// `Settings` are those of the whole launch. A Task has `first_tile`: how many tiles of the launch come before its own.
template <class Task, class Settings, size_t kBytes = kParameterBytes>
struct TaskList {
  static constexpr size_t kParameterSize = kBytes;
  static constexpr int kMost = static_cast<int>((kBytes - sizeof(Settings) - 16) / sizeof(Task));
  Settings settings;
  int count;
  Task tasks[kMost];
};

// The task that a block works on: the last one that begins at its tile or before. Every thread searches; the list is
// small and in the constant bank, where a warp's equal addresses cost one access.
template <class List>
__device__ __forceinline__ int task_of_tile(const List& list, int tile) {
  int low = 0, high = list.count - 1;
  while (low < high) {
    const int middle = (low + high + 1) / 2;
    if (list.tasks[middle].first_tile <= tile) {
      low = middle;
    } else {
      high = middle - 1;
    }
  }
  return low;
}

// Row and column of the `index`-th tile on or below the diagonal, counted row by row: index = row (row + 1) / 2 + column.
__device__ __forceinline__ void triangular_tile(int index, int& row, int& column) {
  row = static_cast<int>((sqrtf(8.0f * static_cast<float>(index) + 1.0f) - 1.0f) * 0.5f);
  while ((row + 1) * (row + 2) / 2 <= index) ++row;  // the root may be off by one either way
  while (row * (row + 1) / 2 > index) --row;
  column = index - row * (row + 1) / 2;
}

// Fills lists with the tasks and calls run(list, tiles) for each.
template <class List, class Task, class Settings, class TilesOf, class Run>
void fill_lists(const std::vector<Task>& tasks, const Settings& settings, TilesOf&& tiles_of, Run&& run) {
  static_assert(sizeof(List) <= kParameterBytes, "the list must fit in the parameters");
  constexpr int64_t kMostTiles = 0x7fffffff;  // blocks of a grid
  List list;
  list.settings = settings;
  list.count = 0;
  int64_t tiles = 0;
  for (const Task& task : tasks) {
    const int64_t more = tiles_of(task);
    if (more == 0) continue;
    if (more > kMostTiles) throw std::length_error("kronla: a batch has more than 2^31 tiles; pass it in parts.");
    if (list.count == List::kMost || tiles + more > kMostTiles) {
      run(list, static_cast<unsigned>(tiles));
      list.count = 0;
      tiles = 0;
    }
    list.tasks[list.count] = task;
    list.tasks[list.count].first_tile = static_cast<int>(tiles);
    ++list.count;
    tiles += more;
  }
  if (list.count > 0) run(list, static_cast<unsigned>(tiles));
}

// Calls run(list, tiles) for as few launches as hold all tasks, in their order. tiles_of(task) ≥ 0 is a count in int64;
// tasks without tiles are left out.
template <class Task, class Settings, class TilesOf, class Run>
void for_each_launch(const std::vector<Task>& tasks, const Settings& settings, TilesOf&& tiles_of, Run&& run) {
  fill_lists<TaskList<Task, Settings>>(tasks, settings, tiles_of, run);
}

// The same with a small parameter where it is enough, for every launch copies its parameters whole: for kernels that are
// there for both sizes of list.
template <class Task, class Settings, class TilesOf, class Run>
void for_each_sized_launch(const std::vector<Task>& tasks, const Settings& settings, TilesOf&& tiles_of, Run&& run) {
  using Small = TaskList<Task, Settings, kSmallParameterBytes>;
  if (tasks.size() > size_t{Small::kMost}) return for_each_launch(tasks, settings, tiles_of, run);
  fill_lists<Small>(tasks, settings, tiles_of, run);
}

// A size, or the number of elements of a matrix, as the kernels count.
inline int checked_int(int64_t size) {
  if (size < 0 || size > 0x7fffffff)
    throw std::length_error("kronla: a matrix has 2^31 or more elements, rows or columns.");
  return static_cast<int>(size);
}

}  // namespace kronla::cuda

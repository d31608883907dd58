// CUDA kernels of batch, group and instance normalization: what the checked arguments come to on
// the device.
#include "kernels/norm/norm.cuda.h"

#include <algorithm>
#include <initializer_list>

#include "cuda/align.h"
#include "cuda/launch.h"
#include "cuda/variants.h"
#include "kernels/moments.h"
#include "kernels/norm/norm.h"

namespace medkern::cuda {
namespace {

constexpr int64_t kMostSize = INT32_MAX / 2;
// A chunk of columns is long enough for its sums to be few, and short enough for a unit to have
// this many, if only each thread of a block has so many turns of kNormRows rows.
constexpr int64_t kChunksOfUnit = 256, kMostTurns = 4;
// Longer runs take a block each, shorter ones a warp; likewise more or fewer partial sums.
constexpr int64_t kShortRun = 1024, kFewPartials = 64;
constexpr uint32_t kWarpsOfBlock = kNormThreads / 32;
constexpr size_t kBlockSumBytes = 2 * kWarpsOfBlock * sizeof(double);
// Rows that a thread takes in the last pass.
constexpr uint32_t kRowsOfThread = 8;

// The kernels of a step.
Kernel fold_moments{"norm", "norm_fold_moments"};
Variants moments_columns = MK_VARIANTS("norm", "norm_moments_columns");
Variants moments_runs = MK_VARIANTS("norm", "norm_moments_runs");
Variants moments_short_runs = MK_VARIANTS("norm", "norm_moments_short_runs");
WideTypes statistics_by_block = MK_WIDE_TYPES("norm", "norm_statistics_by_block");
WideTypes statistics_by_warp = MK_WIDE_TYPES("norm", "norm_statistics_by_warp");
Variants apply_rows = MK_VARIANTS("norm", "norm_apply_rows");
Variants apply_runs = MK_VARIANTS("norm", "norm_apply_runs");

Variants sums_columns = MK_VARIANTS("norm_backward", "norm_sums_columns");
Variants sums_runs = MK_VARIANTS("norm_backward", "norm_sums_runs");
Variants sums_short_runs = MK_VARIANTS("norm_backward", "norm_sums_short_runs");
WideTypes totals_by_block = MK_WIDE_TYPES("norm_backward", "norm_totals_by_block");
WideTypes totals_by_warp = MK_WIDE_TYPES("norm_backward", "norm_totals_by_warp");
WideTypes gradients_of_samples = MK_WIDE_TYPES("norm_backward", "norm_gradients_of_samples");
Variants gradient_rows = MK_VARIANTS("norm_backward", "norm_gradient_rows");
Variants gradient_runs = MK_VARIANTS("norm_backward", "norm_gradient_runs");
Variants constant_gradient_rows = MK_VARIANTS("norm_backward", "norm_constant_gradient_rows");
Variants constant_gradient_runs = MK_VARIANTS("norm_backward", "norm_constant_gradient_runs");

int64_t rows_of_chunk(Dtype dtype, int64_t length, int64_t channels) {
  const auto whole = static_cast<uint32_t>(lanes_of(dtype));
  const uint32_t lanes = channels % whole == 0 ? whole : 1;
  const int64_t turn = kNormRows * int64_t{norm_tiles(static_cast<uint32_t>(channels), lanes).down};
  const int64_t turns = divide_up(divide_up(length, kChunksOfUnit), turn);
  return turn * std::clamp<int64_t>(turns, 1, kMostTurns);
}

// One pass: its arguments, and which of the variants it takes.
struct Pass {
  NormKernelArgs args{};
  int variant, wide;  // of Variants and of WideTypes
  uint32_t lanes;
  int64_t statistics;

  Pass(const NormShape& s, const NormCut& cut, std::initializer_list<const void*> memory);
};

Pass::Pass(const NormShape& s, const NormCut& cut, std::initializer_list<const void*> memory) {
  require(s.n * s.c <= kMostSize && s.s <= kMostSize && s.n * s.s <= kMostSize,
          "CUDA kernels of normalization take up to 2^30 pixels, and channels of all samples, got ",
          s.n, " samples of ", s.c, " channels and ", s.s, " pixels");
  const int64_t row = s.channels_last ? s.c : s.s;
  const int64_t whole = lanes_of(s.dtype);
  const bool vectors = whole > 1 && row % whole == 0 && are_aligned(memory);
  lanes = vectors ? static_cast<uint32_t>(whole) : 1;
  variant = variant_of(s.dtype, vectors);
  wide = wide_type_of(s.dtype);
  statistics = (s.over_batch ? 1 : s.n) * s.groups;

  NormKernelArgs& a = args;
  a.n = s.n;
  a.s = s.s;
  a.c = static_cast<uint32_t>(s.c);
  a.groups = static_cast<uint32_t>(s.groups);
  if (s.c * s.groups == 0) return;
  a.per_group = a.c / a.groups;
  a.channels_last = s.channels_last;
  a.over_batch = s.over_batch;
  a.by_channels = divider(a.c);
  a.by_group = divider(a.per_group);
  if (s.n * s.s == 0) return;
  require(cut.units * cut.chunks <= kMostSize,
          "CUDA kernels of normalization sum up to 2^30 stretches, got ", cut.units * cut.chunks);
  a.length = cut.length;
  a.units = static_cast<uint32_t>(cut.units);
  a.chunk = static_cast<uint32_t>(cut.chunk);
  a.chunks = static_cast<uint32_t>(cut.chunks);
  a.by_chunks = divider(a.chunks);
  if (s.channels_last) {
    a.tiles = norm_tiles(a.c, lanes);
    a.pixels = static_cast<uint32_t>(s.over_batch ? s.n * s.s : s.s);
    a.rows = a.tiles.down * kRowsOfThread;
    a.by_blocks = divider(static_cast<uint32_t>(divide_up(a.pixels, a.rows)));
  } else {
    a.count = s.n * s.c * s.s / lanes;
    a.by_plane = divider(static_cast<uint32_t>(s.s / lanes));
  }
}

// Runs a kernel that sums chunks, `bytes` a column's sums in shared memory.
void sum_chunks(const Pass& pass, Variants& columns, Variants& runs, Variants& short_runs,
                size_t bytes) {
  const NormKernelArgs& a = pass.args;
  const uint32_t items = a.units * a.chunks;
  if (a.channels_last) {
    const uint32_t threads = a.tiles.across * a.tiles.down;
    launch(columns[pass.variant], {items, a.tiles.tiles}, threads, threads * pass.lanes * bytes, a);
  } else if (a.length <= kShortRun) {
    launch(short_runs[pass.variant], {static_cast<uint32_t>(divide_up(items, kWarpsOfBlock))},
           kNormThreads, 0, a);
  } else {
    launch(runs[pass.variant], {items}, kNormThreads, kBlockSumBytes, a);
  }
}

// Runs a kernel that merges `partials` partial sums for each of `count` results.
void merge(const Pass& pass, WideTypes& by_block, WideTypes& by_warp, int64_t count,
           int64_t partials) {
  if (partials > kFewPartials) {
    launch(by_block[pass.wide], {static_cast<uint32_t>(count)}, kNormThreads, kBlockSumBytes,
           pass.args);
  } else {
    launch(by_warp[pass.wide], {static_cast<uint32_t>(divide_up(count, kWarpsOfBlock))},
           kNormThreads, 0, pass.args);
  }
}

// Runs a kernel of the last pass.
void write(const Pass& pass, Variants& rows, Variants& runs) {
  const NormKernelArgs& a = pass.args;
  if (a.channels_last) {
    const uint32_t units = a.over_batch ? 1 : static_cast<uint32_t>(a.n);
    launch(rows[pass.variant], {units * a.by_blocks.divisor, a.tiles.tiles},
           a.tiles.across * a.tiles.down, 0, a);
  } else {
    const int64_t blocks = divide_up(a.count, kNormThreads * kNormVectors);
    launch(runs[pass.variant], {static_cast<uint32_t>(blocks)}, kNormThreads, 0, a);
  }
}

// How moments that are given are cut, many of them into no more chunks than x would be.
NormCut given_cut(const NormCut& own) {
  NormCut cut = own;
  const int64_t given = divide_up(own.length, kMomentRows);
  const int64_t fold = given <= kChunksOfUnit ? 1 : divide_up(own.chunk, kMomentRows);
  cut.chunk = fold * kMomentRows;
  cut.chunks = divide_up(own.length, cut.chunk);
  return cut;
}

// Gives the pass moments that need no reading of x.
void take_moments(Pass& pass, const double* given) {
  NormKernelArgs& a = pass.args;
  a.given = given;
  a.given_rows = kMomentRows;
  a.given_chunks = static_cast<uint32_t>(divide_up(a.length, kMomentRows));
  a.fold = a.chunk / kMomentRows;
  if (a.fold == 1) {
    a.partials = const_cast<double*>(given);  // only read from here on
    return;
  }
  const int64_t count = int64_t{a.units} * a.chunks * a.c;
  launch(fold_moments, {static_cast<uint32_t>(divide_up(count, kNormThreads))}, kNormThreads, 0, a);
}

void forward(const NormForwardArgs& f) {
  const NormShape& s = f.shape;
  Pass pass(s, f.given != nullptr ? given_cut(f.moments) : f.moments, {f.x, f.y});
  NormKernelArgs& a = pass.args;
  a.training = f.training;
  a.relu = f.relu;
  a.eps = f.eps;
  a.momentum = f.momentum;
  a.x = f.x;
  a.weight = f.weight;
  a.bias = f.bias;
  a.y = f.y;
  a.running_mean = f.running_mean;
  a.running_var = f.running_var;
  a.mean = f.mean;
  a.rstd = f.rstd;
  a.partials = f.partials;
  const bool some = s.n * s.c * s.s > 0;
  if (some && f.given != nullptr) {
    take_moments(pass, f.given);
  } else if (some && f.training) {
    sum_chunks(pass, moments_columns, moments_runs, moments_short_runs, 2 * sizeof(double));
  }
  const int64_t members =
      s.channels_last ? (s.over_batch ? 1 : a.per_group) : (s.over_batch ? s.n : 1);
  merge(pass, statistics_by_block, statistics_by_warp, pass.statistics,
        f.training && some ? members * a.chunks : 0);
  if (some) write(pass, apply_rows, apply_runs);
}

void backward(const NormBackwardArgs& b) {
  const NormShape& s = b.shape;
  if (s.n * s.s == 0) {
    const size_t bytes = s.c * wide_size_of(s.dtype);
    if (b.dweight != nullptr) fill_zero(b.dweight, bytes);
    if (b.dbias != nullptr) fill_zero(b.dbias, bytes);
  }
  if (s.n * s.c * s.s == 0) return;
  Pass pass(s, b.sums, {b.x, b.dy, b.dx});
  NormKernelArgs& a = pass.args;
  a.training = b.training;
  a.relu = b.relu;
  a.x = b.x;
  a.dy = b.dy;
  a.weight = b.weight;
  a.bias = b.bias;
  a.y = b.dx;
  a.dweight = b.dweight;
  a.dbias = b.dbias;
  a.mean = const_cast<double*>(b.mean);
  a.rstd = const_cast<double*>(b.rstd);
  a.partials = b.partials;
  const int64_t samples = s.over_batch ? 1 : s.n;
  a.totals = b.coefficients;
  a.slopes = b.coefficients + 2 * samples * s.c;
  sum_chunks(pass, sums_columns, sums_runs, sums_short_runs, 2 * sizeof(double));
  merge(pass, totals_by_block, totals_by_warp, samples * s.c,
        a.chunks * (s.over_batch && !s.channels_last ? s.n : 1));
  if (!s.over_batch) {
    const int64_t warps = s.c + pass.statistics;
    launch(gradients_of_samples[pass.wide],
           {static_cast<uint32_t>(divide_up(warps, kWarpsOfBlock))}, kNormThreads, 0, a);
  }
  if (b.dx == nullptr) return;
  if (b.training) {
    write(pass, gradient_rows, gradient_runs);
  } else {
    write(pass, constant_gradient_rows, constant_gradient_runs);
  }
}

}  // namespace

extern const NormKernels norm_kernels;
constinit const NormKernels norm_kernels = {
    .takes_moments = true,
    .rows_of_chunk = rows_of_chunk,
    .forward = forward,
    .backward = backward,
};

}  // namespace medkern::cuda

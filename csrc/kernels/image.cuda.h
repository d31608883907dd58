// Images as CUDA kernels see them: what the host must know of one to number its elements.
#pragma once

#include <algorithm>
#include <cstdint>
#include <initializer_list>

#include "core/status.h"
#include "cuda/align.h"
#include "kernels/image.h"
#include "kernels/rows.cuda.h"

namespace medkern::cuda {

// Elements of an image, below 2^31: kernels number them in 32 bits.
inline uint32_t element_count(const char* op, const Image& image) {
  const int64_t count = image.n * image.c * image.size[0] * image.size[1] * image.size[2];
  require(count <= INT32_MAX, op, ": CUDA kernels take tensors of less than 2^31 elements, got ",
          count);
  return static_cast<uint32_t>(count);
}

// Channels vary fastest in memory. An image without gaps that is not so is contiguous.
inline bool is_channels_last(const Image& image) {
  return image.c > 1 ? image.stride_c == 1 : true;
}

// A number of pixels, rows or blocks, up to 2^30.
inline uint32_t narrow(const char* op, int64_t count) {
  constexpr int64_t kMost = INT32_MAX / 2;
  require(count <= kMost, op, ": CUDA kernels count up to 2^30 pixels, rows and blocks, got ",
          count);
  return static_cast<uint32_t>(count);
}

// All channels of a pixel lie side by side in all of the images.
inline bool have_pixels(std::initializer_list<const Image*> images) {
  bool all = true;
  for (const Image* image : images) all = all && image->stride_c == 1;
  return all;
}

// They do in whole vectors of `lanes` elements, which lie at multiples of their size.
inline bool have_vectors(std::initializer_list<const Image*> images, int64_t lanes,
                         int64_t bytes_each) {
  bool all = have_pixels(images);
  for (const Image* image : images) {
    all = all && image->c % lanes == 0 && image->stride_n % lanes == 0 &&
          is_aligned(image->data, lanes * bytes_each);
    for (const int64_t stride : image->stride) all = all && stride % lanes == 0;
  }
  return all;
}

// For kernels that write the image `to`, which has elements: with `pixels`, vectors of `lanes`
// channels are items. Results don't depend on how many rows a block takes.
inline ImageRows image_rows(const char* op, const Image& to, bool pixels, int64_t lanes) {
  constexpr int64_t kEnoughBlocks = 2048;
  const int64_t vectors = pixels ? to.c / lanes : 1, channels = pixels ? 1 : to.c;
  ImageRows r{};
  r.items = narrow(op, to.size[2] * vectors);
  r.all_rows = narrow(op, to.size[0] * to.size[1]);
  const int64_t item_blocks = divide_up(r.items, kRowThreads);
  const int64_t turns = to.n * channels * item_blocks * r.all_rows / kEnoughBlocks;
  r.rows = static_cast<uint32_t>(std::clamp<int64_t>(turns, 1, kMostRows));
  const int64_t row_blocks = divide_up(r.all_rows, r.rows);
  r.by_item_blocks = divider(static_cast<uint32_t>(item_blocks));
  r.by_row_blocks = divider(static_cast<uint32_t>(row_blocks));
  r.by_channels = divider(narrow(op, channels));
  r.by_height = divider(narrow(op, to.size[1]));
  r.by_vectors = divider(narrow(op, vectors));
  r.blocks = narrow(op, to.n * channels * item_blocks * row_blocks);
  return r;
}

}  // namespace medkern::cuda

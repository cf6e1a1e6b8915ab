#include "views.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <utility>

namespace {

// A filter of Pillow's: its weight at a distance in source pixels, and where that becomes zero.
struct Filter {
  double (*weight)(double);
  double support;
};

double triangle(double x) { return std::max(0.0, 1.0 - std::abs(x)); }

// Keys 1981 with a = -1/2.
double keys(double x) {
  constexpr double a = -0.5;
  x = std::abs(x);
  if (x < 1.0) return ((a + 2.0) * x - (a + 3.0)) * x * x + 1;
  if (x < 2.0) return (((x - 5) * x + 8) * x - 4) * a;
  return 0.0;
}

constexpr Filter bilinear{triangle, 1.0};
constexpr Filter bicubic{keys, 2.0};

// The source pixels of one output pixel, and their weights in units of 2^-22.
struct Taps {
  int first;
  std::vector<int> weights;
};

constexpr int precision = 22;

// Taps of every output pixel along one axis, for the span [begin, end) of a source of `size` pixels.
// The kernel grows with the shrink factor, so nothing is skipped (antialiasing).
std::vector<Taps> taps_of(int size, double span_begin, double span_end, int out, const Filter& filter) {
  // Pillow keeps and subtracts the ends of spans in 32-bit floats.
  const auto begin = static_cast<float>(span_begin), end = static_cast<float>(span_end);
  const double scale = static_cast<double>(end - begin) / out;
  const double stretch = std::max(scale, 1.0);
  const double support = filter.support * stretch;
  std::vector<Taps> all(out);
  for (int i = 0; i < out; ++i) {
    const double centre = begin + (i + 0.5) * scale;
    const int first = std::max(static_cast<int>(centre - support + 0.5), 0);
    const int last = std::min(static_cast<int>(centre + support + 0.5), size);
    std::vector<double> weights;
    double total = 0;
    for (int p = first; p < last; ++p) {
      weights.push_back(filter.weight((p - centre + 0.5) * (1.0 / stretch)));
      total += weights.back();
    }
    all[i].first = first;
    for (const double weight : weights) {
      const double fixed = weight * (1.0 / total) * (1 << precision);
      all[i].weights.push_back(static_cast<int>(fixed < 0 ? fixed - 0.5 : fixed + 0.5));
    }
  }
  return all;
}

std::uint8_t level(int sum) {
  return static_cast<std::uint8_t>(std::clamp(sum >> precision, 0, 255));
}

struct Box {
  double left, top, right, bottom;
};

// Across first, then down, rounded to levels in between.
Photo resize(const Photo& photo, int width, int height, const Filter& filter, const Box& box) {
  constexpr int half = 1 << (precision - 1);
  // Rows that can matter. The filters reach at most 2 pixels beyond a box that is enlarged, and a photo is shrunk whole.
  const int first = std::max(static_cast<int>(box.top) - 3, 0);
  const int last = std::min(static_cast<int>(std::ceil(box.bottom)) + 3, photo.height);
  const auto columns = taps_of(photo.width, box.left, box.right, width, filter);
  const auto rows = taps_of(last - first, box.top - first, box.bottom - first, height, filter);

  Photo across{width, last - first, {}};
  across.pixels.resize(static_cast<std::size_t>(across.width) * across.height * 3);
  auto* target = across.pixels.data();
  for (int y = first; y < last; ++y) {
    const auto* source = &photo.pixels[static_cast<std::size_t>(y) * photo.width * 3];
    for (const Taps& taps : columns) {
      int sum[3] = {half, half, half};
      const auto* pixel = source + static_cast<std::size_t>(taps.first) * 3;
      for (const int weight : taps.weights) {
        for (int channel = 0; channel < 3; ++channel) sum[channel] += *pixel++ * weight;
      }
      for (const int value : sum) *target++ = level(value);
    }
  }

  Photo down{width, height, {}};
  const std::size_t stride = static_cast<std::size_t>(width) * 3;
  down.pixels.resize(stride * height);
  std::vector<int> sums(stride);
  for (int y = 0; y < height; ++y) {
    std::fill(sums.begin(), sums.end(), half);
    const auto* source = &across.pixels[rows[y].first * stride];
    for (const int weight : rows[y].weights) {
      for (int& sum : sums) sum += *source++ * weight;
    }
    std::transform(sums.begin(), sums.end(), down.pixels.begin() + y * stride, level);
  }
  return down;
}

Photo resize(const Photo& photo, int width, int height, const Filter& filter) {
  return resize(photo, width, height, filter, {0.0, 0.0, 1.0 * photo.width, 1.0 * photo.height});
}

struct Size {
  int width, height;
};

Size working_size(const Photo& photo, const Preprocess& rule) {
  const long long shorter = std::min(photo.width, photo.height);
  long long target = shorter;
  if (rule.shrink_short_side && shorter > rule.shrink_short_side) {
    target = rule.shrink_short_side;
  } else if (shorter < rule.crop_size) {
    target = rule.crop_size;
  }
  return {static_cast<int>(photo.width * target / shorter), static_cast<int>(photo.height * target / shorter)};
}

// Left and top edges of the crops in the working size.
std::vector<std::pair<int, int>> crop_positions(const Size& size, const Preprocess& rule) {
  int stride = std::max(size.width, size.height) >= rule.large_side ? rule.large_stride : rule.stride;
  long long columns, rows;
  for (;; stride /= 2) {
    columns = (size.width - rule.crop_size) / stride + 1;
    rows = (size.height - rule.crop_size) / stride + 1;
    if (columns * rows >= rule.crop_count || stride == 1 || rule.repeats_windows) break;
  }
  const long long count = columns * rows;
  std::vector<std::pair<int, int>> positions;
  for (int k = 0; k < rule.crop_count; ++k) {
    long long index = k * (count / rule.crop_count);
    if (count < rule.crop_count) {
      index = k % count;
    } else if (rule.crop_rule == "linspace") {
      index = std::llrint(static_cast<double>(k * (count - 1)) / (rule.crop_count - 1));  // half to even
    }
    positions.emplace_back(index % columns * stride, index / columns * stride);
  }
  return positions;
}

void append_window(std::vector<std::uint8_t>& crops, const Photo& photo, int left, int top, int side) {
  for (int y = top; y < top + side; ++y) {
    const auto row = photo.pixels.begin() + (static_cast<std::ptrdiff_t>(y) * photo.width + left) * 3;
    crops.insert(crops.end(), row, row + static_cast<std::ptrdiff_t>(side) * 3);
  }
}

}  // namespace

Views make_views(const Photo& photo, const Preprocess& rule) {
  const int side = rule.crop_size;
  const Size size = working_size(photo, rule);
  Views views;
  if (rule.has_overview) views.overview = resize(photo, side, side, bicubic).pixels;
  if (std::min(photo.width, photo.height) < side) {
    // Each window is enlarged on its own: a 1 x 5000 strip enlarged whole would have 5000 times its pixels.
    const double x_scale = static_cast<double>(photo.width) / size.width;
    const double y_scale = static_cast<double>(photo.height) / size.height;
    for (const auto& [x, y] : crop_positions(size, rule)) {
      const Box box{x * x_scale, y * y_scale, (x + side) * x_scale, (y + side) * y_scale};
      append_window(views.crops, resize(photo, side, side, bicubic, box), 0, 0, side);
    }
    return views;
  }
  const bool shrinks = size.width != photo.width || size.height != photo.height;
  const Photo shrunk = shrinks ? resize(photo, size.width, size.height, bilinear) : Photo{};
  const Photo& working = shrinks ? shrunk : photo;
  for (const auto& [x, y] : crop_positions(size, rule)) append_window(views.crops, working, x, y, side);
  return views;
}

// What an exported file says about itself: the preprocessing rule and the labels, from its metadata.
#pragma once

#include <functional>
#include <string>
#include <vector>

// The part of `defnet.contract` that a program needs to make views; names as in the file.
struct Preprocess {
  int shrink_short_side;
  int crop_size;
  int crop_count;
  int stride;
  int large_stride;
  int large_side;
  std::string crop_rule;
  bool repeats_windows;  // few_windows is "repeat": the stride is not halved where there are too few windows
  bool has_overview;     // overview_mode is not "none"
};

struct Contract {
  Preprocess preprocess;
  std::vector<std::string> scenes;
  std::vector<std::string> distortions;
  bool end_to_end;  // the file takes a raw photo and makes its views itself
};

// Returns the value of a metadata key, or an empty string.
using Metadata = std::function<std::string(const std::string& key)>;

// Throws std::runtime_error if the file is not one of defnet's, or of a schema this program does not know.
Contract read_contract(const Metadata& metadata);

// What the model sees of a photo: crops and an overview, as defnet_infer/views.py makes them, to the bit.
#pragma once

#include <cstdint>
#include <vector>

#include "contract.h"
#include "photo.h"

struct Views {
  std::vector<std::uint8_t> crops;     // (crop_count, crop_size, crop_size, 3)
  std::vector<std::uint8_t> overview;  // (crop_size, crop_size, 3), or empty
};

Views make_views(const Photo& photo, const Preprocess& rule);

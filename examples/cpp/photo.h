// A photo's pixels, read from a file.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

struct Photo {
  int width = 0;
  int height = 0;
  std::vector<std::uint8_t> pixels;  // (height, width, 3), RGB
};

// Reads JPEG, PNG, BMP and what else stb_image knows, as stored: EXIF orientation is not applied.
// Throws std::runtime_error with the reason if the file cannot be read.
Photo read_photo(const std::string& path);

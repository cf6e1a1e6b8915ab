#include "photo.h"

#include <memory>
#include <stdexcept>

// Its readers of other formats fill up what is cut off, or take 16 bits in the wrong order, without a word.
#define STBI_ONLY_JPEG
#define STBI_ONLY_PNG
#define STB_IMAGE_IMPLEMENTATION
#include <stb_image.h>

Photo read_photo(const std::string& path) {
  Photo photo;
  int channels = 0;
  std::unique_ptr<stbi_uc, decltype(&stbi_image_free)> pixels(
      stbi_load(path.c_str(), &photo.width, &photo.height, &channels, 3), stbi_image_free);
  if (!pixels) {
    throw std::runtime_error(stbi_failure_reason());
  }
  const auto size = static_cast<std::size_t>(photo.width) * photo.height * 3;
  photo.pixels.assign(pixels.get(), pixels.get() + size);
  return photo;
}

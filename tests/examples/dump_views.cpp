// Writes the views of raw RGB pixels, for tests/examples/test_cpp_views.py:
// dump_views WIDTH HEIGHT CROP_RULE < pixels > crops and overview; CROP_RULE pyiqa is that preset, of crops alone
#include <cstdio>
#include <cstdlib>
#include <string>

#include "views.h"

int main(int, char** arguments) {
  Photo photo{std::atoi(arguments[1]), std::atoi(arguments[2]), {}};
  photo.pixels.resize(static_cast<std::size_t>(photo.width) * photo.height * 3);
  if (std::fread(photo.pixels.data(), 1, photo.pixels.size(), stdin) != photo.pixels.size()) return 1;
  Preprocess rule{768, 224, 15, 32, 48, 1024, arguments[3], false, true};
  if (std::string(arguments[3]) == "pyiqa") rule = {0, 224, 15, 32, 32, 1024, "every_nth", true, false};
  const Views views = make_views(photo, rule);
  std::fwrite(views.crops.data(), 1, views.crops.size(), stdout);
  std::fwrite(views.overview.data(), 1, views.overview.size(), stdout);
}

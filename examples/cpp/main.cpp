// defnet_score MODEL.onnx PHOTO... : score photos with a file that `defnet export` wrote, without Python.
//
// One CSV row per photo on standard output. Exit code as of `defnet score`: 0 all scored, 1 some photos failed,
// 2 wrong usage, 3 the model cannot be used.

#include <algorithm>
#include <cstdio>
#include <exception>
#include <stdexcept>
#include <string>

#include "contract.h"
#include "photo.h"
#include "runtime.h"
#include "views.h"

namespace {

Outputs score(Runtime& runtime, const Contract& contract, const Photo& photo) {
  if (contract.end_to_end) {
    return runtime.run({{"image", {photo.height, photo.width, 3}, photo.pixels.data()}});
  }
  const Views views = make_views(photo, contract.preprocess);
  const std::int64_t count = contract.preprocess.crop_count, side = contract.preprocess.crop_size;
  std::vector<Input> inputs{{"crops", {1, count, side, side, 3}, views.crops.data()}};
  if (contract.preprocess.has_overview) inputs.push_back({"overview", {1, side, side, 3}, views.overview.data()});
  return runtime.run(inputs);
}

// The cell of an output that a model without evidential head, scene or distortion does not have is empty.
std::string most_likely(const Outputs& outputs, const std::string& task, const std::vector<std::string>& labels) {
  if (outputs.count(task) == 0) return "";
  const auto& probabilities = outputs.at(task);
  const auto best = std::max_element(probabilities.begin(), probabilities.end());
  return labels.at(static_cast<std::size_t>(best - probabilities.begin()));
}

std::string interval_end(const Outputs& outputs, std::size_t end) {
  if (outputs.count("interval") == 0) return "";
  char text[32];
  std::snprintf(text, sizeof text, "%.6f", outputs.at("interval").at(end));
  return text;
}

std::string quoted(const std::string& text) {
  if (text.find_first_of(",\"\n\r") == std::string::npos) return text;
  std::string field = "\"";
  for (const char c : text) field += c == '"' ? std::string("\"\"") : std::string(1, c);
  return field + '"';
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) {
    std::fprintf(stderr, "usage: defnet_score MODEL.onnx PHOTO...\n");
    return 2;
  }
  std::unique_ptr<Runtime> runtime;
  Contract contract;
  try {
    runtime = open_model(argv[1]);
    contract = read_contract([&](const std::string& key) { return runtime->metadata(key); });
    if (contract.end_to_end && !runtime->runs_end_to_end()) {
      throw std::runtime_error(
          "end-to-end files need ONNX Runtime, which keeps the antialiasing of their resizes; give the file it was made "
          "from, without .e2e");
    }
  } catch (const std::exception& error) {
    std::fprintf(stderr, "defnet_score: %s: %s\n", argv[1], error.what());
    return 3;
  }

  int failed = 0;
  std::printf("path,score,interval_low,interval_high,scene,distortion\n");
  for (int i = 2; i < argc; ++i) {
    try {
      const Outputs outputs = score(*runtime, contract, read_photo(argv[i]));
      std::printf("%s,%.6f,%s,%s,%s,%s\n", quoted(argv[i]).c_str(), outputs.at("score").at(0),
                  interval_end(outputs, 0).c_str(), interval_end(outputs, 1).c_str(),
                  most_likely(outputs, "scene", contract.scenes).c_str(),
                  most_likely(outputs, "distortion", contract.distortions).c_str());
    } catch (const std::exception& error) {
      std::fprintf(stderr, "defnet_score: %s: %s\n", argv[i], error.what());
      failed = 1;
    }
  }
  return failed;
}

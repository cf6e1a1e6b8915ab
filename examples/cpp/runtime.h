// A loaded model in whichever runtime this program was built against.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

// An 8-bit input; the pixels belong to the caller.
struct Input {
  std::string name;
  std::vector<std::int64_t> shape;
  const std::uint8_t* pixels;
};

using Outputs = std::map<std::string, std::vector<float>>;

class Runtime {
 public:
  virtual ~Runtime() = default;
  // A value of the file's metadata, or an empty string.
  virtual std::string metadata(const std::string& key) const = 0;
  // Whether it computes end-to-end files rightly, which resize in the graph.
  virtual bool runs_end_to_end() const = 0;
  virtual Outputs run(const std::vector<Input>& inputs) = 0;
};

// Throws std::exception if the file cannot be loaded.
std::unique_ptr<Runtime> open_model(const std::string& path);

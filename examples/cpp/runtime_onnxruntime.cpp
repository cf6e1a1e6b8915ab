// ONNX Runtime, CPU. Runs end-to-end files and files that take views.
#include <onnxruntime_cxx_api.h>

#include "runtime.h"

namespace {

class OnnxRuntime : public Runtime {
 public:
  explicit OnnxRuntime(const std::string& path)
      : session_(environment_, std::basic_string<ORTCHAR_T>(path.begin(), path.end()).c_str(), Ort::SessionOptions{}) {
    for (std::size_t i = 0; i < session_.GetOutputCount(); ++i) {
      names_.emplace_back(session_.GetOutputNameAllocated(i, allocator_).get());
    }
  }

  std::string metadata(const std::string& key) const override {
    const auto value = session_.GetModelMetadata().LookupCustomMetadataMapAllocated(key.c_str(), allocator_);
    return value ? value.get() : "";
  }

  bool runs_end_to_end() const override { return true; }

  Outputs run(const std::vector<Input>& inputs) override {
    const auto memory = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
    std::vector<Ort::Value> tensors;
    std::vector<const char*> input_names, output_names;
    for (const Input& input : inputs) {
      std::size_t count = 1;
      for (const auto size : input.shape) count *= static_cast<std::size_t>(size);
      // ONNX Runtime takes no const pointer, but does not write to inputs.
      tensors.push_back(Ort::Value::CreateTensor<std::uint8_t>(memory, const_cast<std::uint8_t*>(input.pixels), count,
                                                               input.shape.data(), input.shape.size()));
      input_names.push_back(input.name.c_str());
    }
    for (const std::string& name : names_) output_names.push_back(name.c_str());
    const auto values = session_.Run(Ort::RunOptions{}, input_names.data(), tensors.data(), tensors.size(),
                                     output_names.data(), output_names.size());
    Outputs outputs;
    for (std::size_t i = 0; i < values.size(); ++i) {
      const float* data = values[i].GetTensorData<float>();
      outputs[names_[i]].assign(data, data + values[i].GetTensorTypeAndShapeInfo().GetElementCount());
    }
    return outputs;
  }

 private:
  Ort::Env environment_{ORT_LOGGING_LEVEL_ERROR, "defnet"};
  mutable Ort::AllocatorWithDefaultOptions allocator_;
  Ort::Session session_;
  std::vector<std::string> names_;
};

}  // namespace

std::unique_ptr<Runtime> open_model(const std::string& path) { return std::make_unique<OnnxRuntime>(path); }

// OpenVINO, CPU. Runs files that take views; end-to-end files are not for it.
#include <algorithm>
#include <fstream>
#include <openvino/openvino.hpp>
#include <stdexcept>

#include "runtime.h"

namespace {

class OpenVino : public Runtime {
 public:
  explicit OpenVino(const std::string& path) : model_(read(core_, path)) {
    // Its default may be bfloat16 on processors that have it.
    request_ = core_.compile_model(model_, "CPU", ov::hint::inference_precision(ov::element::f32)).create_infer_request();
  }

  std::string metadata(const std::string& key) const override {
    return model_->has_rt_info("framework", key) ? model_->get_rt_info<std::string>("framework", key) : "";
  }

  // OpenVINO ignores the attribute `antialias` of Resize (its issue 35893), so its views would be others.
  bool runs_end_to_end() const override { return false; }

  Outputs run(const std::vector<Input>& inputs) override {
    for (const Input& input : inputs) {
      const ov::Shape shape(input.shape.begin(), input.shape.end());
      ov::Tensor tensor(ov::element::u8, shape);
      std::copy_n(input.pixels, tensor.get_size(), tensor.data<std::uint8_t>());
      request_.set_tensor(input.name, tensor);
    }
    request_.infer();
    Outputs outputs;
    for (const auto& output : model_->outputs()) {
      const ov::Tensor tensor = request_.get_tensor(output.get_any_name());
      outputs[output.get_any_name()].assign(tensor.data<float>(), tensor.data<float>() + tensor.get_size());
    }
    return outputs;
  }

 private:
  static std::shared_ptr<ov::Model> read(ov::Core& core, const std::string& path) {
    if (!std::ifstream(path)) {
      throw std::runtime_error("it is not there or cannot be opened");
    }
    try {
      return core.read_model(path);
    } catch (const ov::Exception&) {
      // What it says is many lines long and about its own source files.
      throw std::runtime_error(
          "OpenVINO cannot read it; if it is an end-to-end file, give the one it was made from, without .e2e, or build "
          "this program with ONNX Runtime");
    }
  }

  ov::Core core_;
  std::shared_ptr<ov::Model> model_;
  ov::InferRequest request_;
};

}  // namespace

std::unique_ptr<Runtime> open_model(const std::string& path) { return std::make_unique<OpenVino>(path); }

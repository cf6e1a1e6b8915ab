#include "contract.h"

#include <nlohmann/json.hpp>
#include <stdexcept>

Contract read_contract(const Metadata& metadata) {
  if (metadata("defnet.schema") != "1") {
    throw std::runtime_error("not a defnet model of schema 1; make one with: defnet export CHECKPOINT");
  }
  try {
    const auto labels = nlohmann::json::parse(metadata("defnet.labels"));
    const auto rule = nlohmann::json::parse(metadata("defnet.contract")).at("preprocess");
    const std::string overview_mode = rule.at("overview_mode");
    Contract contract{
        {rule.at("shrink_short_side"), rule.at("crop_size"), rule.at("crop_count"), rule.at("stride"),
         rule.at("large_stride"), rule.at("large_side"), rule.at("crop_rule"),
         // Written only where it is not the usual rule.
         rule.value("few_windows", "halve") == "repeat", overview_mode != "none"},
        labels.at("scene"),
        labels.at("distortion"),
        metadata("defnet.kind") == "end_to_end",
    };
    // This program knows one filter for each step; a preset with others needs other code.
    if (rule.at("shrink_filter") != "bilinear" || rule.at("enlarge_filter") != "bicubic" ||
        rule.at("overview_filter") != "bicubic" || (overview_mode != "squash" && overview_mode != "none")) {
      throw std::runtime_error("its preprocessing has a filter or an overview_mode that this program does not have");
    }
    return contract;
  } catch (const nlohmann::json::exception& error) {
    throw std::runtime_error(std::string("its contract cannot be read: ") + error.what());
  }
}

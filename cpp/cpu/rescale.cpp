// Affine maps that cast, of one CPU target. Compiled once per instruction set.
#include "rescale.h"

namespace dlk {
namespace DLK_TARGET {
extern const Table<RescaleArgs> rescale_entries;
namespace {
template <class In>
constexpr Entry<RescaleArgs> from(const char* type) {
  return {"rescale",
          type,
          1,
          1,
          0,
          more_operands,
          {rescale<In, f32>, rescale<In, f64>, rescale<In, f16>, rescale<In, bf16>}};
}
constexpr Entry<RescaleArgs> rescale_rows[] = {from<f32>("f32"), from<f64>("f64"), from<f16>("f16"), from<bf16>("bf16"),
                                               from<u8>("u8")};
}  // namespace
const Table<RescaleArgs> rescale_entries = {rescale_rows, 5};
}  // namespace DLK_TARGET
}  // namespace dlk

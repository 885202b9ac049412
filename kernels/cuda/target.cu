// The CUDA target as a value: its name and its tables.
#include "../abi.h"
#include "../config.h"

#define DLK_TEXT_OF(x) #x
#define DLK_TEXT(x) DLK_TEXT_OF(x)

namespace dlk {
namespace DLK_TARGET {
extern const Table<MapArgs> map_entries;
extern const Table<RowArgs> rows_entries;
extern const Table<ReduceArgs> reduce_entries;
extern const Table<LabelArgs> label_entries;
extern const Table<UpdateArgs> update_entries;
extern const Table<DistanceArgs> distance_entries;
extern const Table<MagnitudeArgs> magnitude_entries;
extern const Table<RescaleArgs> rescale_entries;
extern const StepTable step_entries;
extern const DeviceCalls device_calls;

extern const Target target;
const Target target = {DLK_TEXT(DLK_TARGET), &map_entries,    &rows_entries,     &reduce_entries,
                       &label_entries,       &update_entries, &distance_entries, &magnitude_entries,
                       &rescale_entries,     &device_calls,   &step_entries};
}  // namespace DLK_TARGET
}  // namespace dlk

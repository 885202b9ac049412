// The levels of a canonical sum above its blocks (DESIGN.md 3.2).
#pragma once
#include "dispatch.h"

namespace dlk {

// Sums a.n compute-type values at a.in[0] into the one at a.partial, then divides by a.divisor or a.count.
void sum_to_one(const char* op, const Target& target, int dtype, std::int64_t value_size, ReduceArgs a,
                const Workspace& workspace);

}  // namespace dlk

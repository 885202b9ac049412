// The words of a launch that failed, kept for the thread that tried it: all loops of a target share them.
#pragma once
#include <cstdint>

#include "../config.h"

namespace dlk {
namespace DLK_TARGET {
constexpr int kFailureText = 640;
char* failure_text();
void describe_failure(const char* kernel, std::int64_t blocks, int threads, int cluster, int shared_bytes, int code);
}  // namespace DLK_TARGET
}  // namespace dlk

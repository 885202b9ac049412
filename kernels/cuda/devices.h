// What the host has found out about devices: asked once, remembered, shared by all loops of a target (device.cu).
#pragma once
#include <cuda_runtime.h>

#include <cstdint>

#include "../config.h"

namespace dlk {
namespace DLK_TARGET {
constexpr int kMaxDevices = 64;

struct device {
  int id;
  int cc, sms,
      shared_bytes;  // compute capability as in sm_90; multiprocessors; shared memory a thread block may ask for
};
device current_device();
}  // namespace DLK_TARGET
}  // namespace dlk

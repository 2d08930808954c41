// The forward with products of single warps: every GPU that has bf16 tensor cores.
#include "attention_fwd_tensor.cuh"
#include "warp_products.cuh"

#define EXPORT_ATTENTION_FWD(NAME, DH) DEFINE_ATTENTION_FWD(NAME, DH, WarpProducts)
EXPORT_ATTENTION_FWD(attention_fwd_d16_bf16, 16)
EXPORT_ATTENTION_FWD(attention_fwd_d32_bf16, 32)
EXPORT_ATTENTION_FWD(attention_fwd_d64_bf16, 64)
EXPORT_ATTENTION_FWD(attention_fwd_d128_bf16, 128)

// The forward with products of warpgroups: compute capability 9.0.
#include "attention_fwd_tensor.cuh"
#include "group_products.cuh"

#define EXPORT_ATTENTION_FWD(NAME, DH) DEFINE_ATTENTION_FWD(NAME, DH, GroupProducts)
EXPORT_ATTENTION_FWD(attention_fwd_group_d64_bf16, 64)
EXPORT_ATTENTION_FWD(attention_fwd_group_d32_bf16, 32)
EXPORT_ATTENTION_FWD(attention_fwd_group_d128_bf16, 128)

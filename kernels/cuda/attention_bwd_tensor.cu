// The backward with products of single warps: every GPU that has bf16 tensor cores.
#include "attention_bwd_tensor.cuh"
#include "warp_products.cuh"

#define EXPORT_ATTENTION_BWD_Q(NAME, DH) DEFINE_ATTENTION_BWD_Q(NAME, DH, WarpProducts)
EXPORT_ATTENTION_BWD_Q(attention_bwd_q_d16_bf16, 16)
EXPORT_ATTENTION_BWD_Q(attention_bwd_q_d32_bf16, 32)
EXPORT_ATTENTION_BWD_Q(attention_bwd_q_d64_bf16, 64)
EXPORT_ATTENTION_BWD_Q(attention_bwd_q_d128_bf16, 128)

#define EXPORT_ATTENTION_BWD_KV(NAME, DH) DEFINE_ATTENTION_BWD_KV(NAME, DH, WarpProducts)
EXPORT_ATTENTION_BWD_KV(attention_bwd_kv_d16_bf16, 16)
EXPORT_ATTENTION_BWD_KV(attention_bwd_kv_d32_bf16, 32)
EXPORT_ATTENTION_BWD_KV(attention_bwd_kv_d64_bf16, 64)
EXPORT_ATTENTION_BWD_KV(attention_bwd_kv_d128_bf16, 128)

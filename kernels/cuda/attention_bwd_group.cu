// The backward with products of warpgroups: compute capability 9.0.
#include "attention_bwd_tensor.cuh"
#include "group_products.cuh"

#define EXPORT_ATTENTION_BWD_Q(NAME, DH) DEFINE_ATTENTION_BWD_Q(NAME, DH, GroupProducts)
EXPORT_ATTENTION_BWD_Q(attention_bwd_q_group_d32_bf16, 32)
EXPORT_ATTENTION_BWD_Q(attention_bwd_q_group_d64_bf16, 64)
EXPORT_ATTENTION_BWD_Q(attention_bwd_q_group_d128_bf16, 128)

#define EXPORT_ATTENTION_BWD_KV(NAME, DH) DEFINE_ATTENTION_BWD_KV(NAME, DH, GroupProducts)
EXPORT_ATTENTION_BWD_KV(attention_bwd_kv_group_d32_bf16, 32)
EXPORT_ATTENTION_BWD_KV(attention_bwd_kv_group_d64_bf16, 64)
EXPORT_ATTENTION_BWD_KV(attention_bwd_kv_group_d128_bf16, 128)

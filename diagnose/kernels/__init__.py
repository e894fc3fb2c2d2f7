"""Which attention kernel ONNX Runtime's CUDA provider takes for each node, and why not a faster one.

For ONNX Runtime 1.31, from its sources: `contrib_ops/cuda/bert/attention.cc`, `multihead_attention.cc`,
`group_query_attention.cc`, `packed_attention.cc`, `packed_multihead_attention.cc`, `paged_attention.cc`,
`attention_kernel_options.cc`, `cutlass_fmha/memory_efficient_attention.h`, `cudnn_fmha/cudnn_flash_attention.cc` and
`tensorrt_fused_multihead_attention/mha_runner.cc`, and `core/providers/cuda/llm/attention.cc`. Held against
onnxruntime-gpu 1.31.1 itself: with stub libraries in the place of CUDA and a made-up GPU of sm 75 to 120 its CUDA
provider chooses and prints what it chose; 0 of 12,000 random nodes and of the nodes for each condition differ.

Left out: kernels for single tokens of PagedAttention (of which only prompts were tried, a dozen) and of
MultiHeadAttention with a `cache_indirection`. A kernel that is chosen need not be there or fast: cuDNN
9.3 or newer must be installed (9.20 was supposed), and the memory-efficient kernel fails to launch on some GPUs for
heads from 512 on (microsoft/onnxruntime#28388).
"""

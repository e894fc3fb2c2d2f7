"""Which attention kernel ONNX Runtime's CUDA provider takes for each node, and why not a faster one.

What is said here was read from the sources that became ONNX Runtime 1.31 (`contrib_ops/cuda/bert/attention.cc`,
`multihead_attention.cc`, `group_query_attention.cc`, `packed_attention.cc`, `packed_multihead_attention.cc`,
`paged_attention.cc`, `attention_kernel_options.cc`, `cutlass_fmha/memory_efficient_attention.h`,
`flash_attention/flash_api.h`, `cudnn_fmha/cudnn_flash_attention.cc`, `tensorrt_fused_multihead_attention/mha_runner.cc`
and `core/providers/cuda/llm/attention.cc`). Types per operator, names of environment variables, the head sizes of
TensorRT's kernels and the three kernels of ai.onnx Attention's log lines were checked against the binary of
onnxruntime-gpu 1.31.1. No choice was seen on a GPU: ORT_ENABLE_ATTENTION_KERNEL_DEBUG_INFO=1 prints there what is
taken, node by node.
"""

"""Which attention kernel ONNX Runtime's CUDA provider takes for each node, and why not a faster one.

Read from the sources on the way to ONNX Runtime 1.31: `contrib_ops/cuda/bert/attention.cc`, `multihead_attention.cc`
(an older revision, its newer lines at second hand), `group_query_attention.cc`, `packed_attention.cc`,
`packed_multihead_attention.cc`, `paged_attention.cc`, `attention_kernel_options.cc`,
`cutlass_fmha/memory_efficient_attention.h`, `cudnn_fmha/cudnn_flash_attention.cc` and
`tensorrt_fused_multihead_attention/mha_runner.cc`, and `core/providers/cuda/llm/attention.cc`. Checked against the
binary of onnxruntime-gpu 1.31.1: the types of each operator, the variables' names, the head sizes of TensorRT's
kernels, and that ai.onnx Attention has a cuDNN, a flash, a memory-efficient and an unfused kernel.

Not verified, for want of a GPU: any choice itself (`ORT_ENABLE_ATTENTION_KERNEL_DEBUG_INFO=1` prints what is taken,
node by node); that `MultiHeadAttention` in bf16 has no flash kernel and asks cuDNN first; under which lengths cuDNN
takes a causal mask; that it takes sm 100 and 120 as it takes sm 90. The memory-efficient kernel is chosen for heads of
up to 1024 and fails to launch on some GPUs from 512 on (microsoft/onnxruntime#28388). Kernels of PagedAttention for
single tokens are left out.
"""

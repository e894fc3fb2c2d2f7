/* The CUDA runtime calls that ONNX Runtime's CUDA provider makes while it loads, partitions a graph and makes kernels.
 *
 * Memory is the host's, one device is described, everything else succeeds and does nothing. ONNXFIX_STUB_SM is its
 * compute capability (90), ONNXFIX_STUB_CUDNN what cuDNN says its version is (0). Results of kernels mean nothing: only
 * what ONNX Runtime plans, and which kernels it chooses, is real.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { ok = 0, out_of_memory = 2, on_device = 2 };

static int allocate(void **address, size_t size) {
  *address = aligned_alloc(256, (size + 256) / 256 * 256);
  return *address ? ok : out_of_memory;
}
static int handle(void **out) { return allocate(out, 64); }
static int release(void *address) { free(address); return ok; }
static int given(const char *name, int otherwise) { const char *text = getenv(name); return text ? atoi(text) : otherwise; }
static int capability(void) { return given("ONNXFIX_STUB_SM", 90); }
static int set(int *out, int value) { *out = value; return ok; }

/* devices */
int cudaGetDeviceCount(int *count) { return set(count, 1); }
int cudaGetDevice(int *index) { return set(index, 0); }
int cudaDriverGetVersion(int *version) { return set(version, 13000); }
int cudaRuntimeGetVersion(int *version) { return set(version, 13000); }
int cudaDeviceGetAttribute(int *value, int attribute, int device) {
  switch (attribute) {
    case 16: return set(value, 132);    /* multiprocessors */
    case 75: return set(value, capability() / 10); /* compute capability, major */
    case 76: return set(value, capability() % 10); /* and minor */
    case 97: return set(value, 232448); /* shared memory of a block, opt-in */
    default: return set(value, 0);
  }
}
/* cudaDeviceProp of CUDA 12 (1,032 bytes) and 13 (1,008): the fields before `minor` stand at the same offsets */
int cudaGetDeviceProperties(char *properties, int device) {
  memset(properties, 0, 1008);
  strcpy(properties, "stub");
  *(size_t *)(properties + 288) = (size_t)80 << 30; /* totalGlobalMem */
  *(size_t *)(properties + 296) = 49152;            /* sharedMemPerBlock */
  *(int *)(properties + 308) = 32;                  /* warpSize */
  *(int *)(properties + 320) = 1024;                /* maxThreadsPerBlock */
  *(int *)(properties + 336) = 2147483647;          /* maxGridSize */
  *(int *)(properties + 340) = 65535;
  *(int *)(properties + 344) = 65535;
  *(int *)(properties + 360) = capability() / 10; /* major */
  *(int *)(properties + 364) = capability() % 10; /* minor */
  *(int *)(properties + 384) = 132; /* multiProcessorCount of CUDA 13 */
  return ok;
}
int cudaGetDeviceProperties_v2(char *properties, int device) { return cudaGetDeviceProperties(properties, device); }
int cudaMemGetInfo(size_t *available, size_t *total) { *available = *total = (size_t)80 << 30; return ok; }

/* memory */
int cudaMalloc(void **address, size_t size) { return allocate(address, size); }
int cudaMallocHost(void **address, size_t size) { return allocate(address, size); }
int cudaHostAlloc(void **address, size_t size, unsigned flags) { return allocate(address, size); }
int cudaMallocAsync(void **address, size_t size, void *stream) { return allocate(address, size); }
int cudaMallocFromPoolAsync(void **address, size_t size, void *pool, void *stream) { return allocate(address, size); }
int cudaFree(void *address) { return release(address); }
int cudaFreeHost(void *address) { return release(address); }
int cudaFreeAsync(void *address, void *stream) { return release(address); }
int cudaMemcpy(void *to, const void *from, size_t size, int kind) { memcpy(to, from, size); return ok; }
int cudaMemcpyAsync(void *to, const void *from, size_t size, int kind, void *stream) { memcpy(to, from, size); return ok; }
int cudaMemset(void *to, int value, size_t size) { memset(to, value, size); return ok; }
int cudaMemsetAsync(void *to, int value, size_t size, void *stream) { memset(to, value, size); return ok; }
int cudaPointerGetAttributes(int *attributes, const void *address) {
  memset(attributes, 0, 32);
  attributes[0] = on_device;
  return ok;
}
int cudaMemPoolCreate(void **pool, const void *properties) { return handle(pool); }

/* streams, events, kernels */
int cudaStreamCreate(void **stream) { return handle(stream); }
int cudaStreamCreateWithFlags(void **stream, unsigned flags) { return handle(stream); }
int cudaStreamIsCapturing(void *stream, int *status) { return set(status, 0); }
int cudaEventCreate(void **event) { return handle(event); }
int cudaEventCreateWithFlags(void **event, unsigned flags) { return handle(event); }
int cudaFuncGetAttributes(char *attributes, const void *function) { memset(attributes, 0, 128); return ok; }
int cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int *count, const void *function, int size, size_t shared,
                                                           unsigned flags) {
  return set(count, 1);
}
int cudaGetDriverEntryPointByVersion(const char *name, void **found, unsigned version, unsigned long long flags,
                                     int *status) {
  *found = NULL;
  if (status) *status = 1; /* not found */
  return ok;
}
const char *cudaGetErrorString(int error) { return "stub"; }
const char *cudaGetErrorName(int error) { return "stub"; }
void **__cudaRegisterFatBinary(void *binary) { static void *registered[4]; return registered; }

/* handles of the CUDA libraries */
int cublasCreate_v2(void **out) { return handle(out); }
int cublasLtCreate(void **out) { return handle(out); }
int cudnnCreate(void **out) { return handle(out); }
size_t cudnnGetVersion(void) { return given("ONNXFIX_STUB_CUDNN", 0); }
const char *cublasGetStatusName(int status) { return "stub"; }
const char *cublasGetStatusString(int status) { return "stub"; }

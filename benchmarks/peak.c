/* One core's limits: `peak BYTES` prints the fp32 FMA rate in GFLOP/s, then the rate in GB/s at
   which a buffer of BYTES is read again and again. Each is the best of many short runs. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#if defined(__AVX512F__)
#define BYTES 64
#elif defined(__AVX__)
#define BYTES 32
#else
#define BYTES 16
#endif
#define LANES (BYTES / 4)
/* Enough independent chains to hide the latency, few enough to stay in 16 registers. */
#define CHAINS 12

typedef float vec __attribute__((vector_size(BYTES)));

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec + 1e-9 * t.tv_nsec;
}

static vec sink;

static double fma_rate(long steps) {
  vec acc[CHAINS], a, b;
  for (int lane = 0; lane < LANES; lane++) a[lane] = 0.999f, b[lane] = 0.001f;
  for (int i = 0; i < CHAINS; i++) acc[i] = b * (float)i;
  double start = now();
  for (long step = 0; step < steps; step++) {
#pragma GCC unroll 12
    for (int i = 0; i < CHAINS; i++) acc[i] = acc[i] * a + b;
  }
  double seconds = now() - start;
  for (int i = 0; i < CHAINS; i++) sink += acc[i];
  return 2.0 * LANES * CHAINS * steps / seconds * 1e-9;
}

static double read_rate(const vec *data, size_t bytes) {
  size_t count = bytes / BYTES / 8 * 8;
  vec acc[8];
  memset(acc, 0, sizeof acc);
  double start = now();
  for (size_t i = 0; i < count; i += 8) {
#pragma GCC unroll 8
    for (int j = 0; j < 8; j++) acc[j] += data[i + j];
  }
  double seconds = now() - start;
  for (int j = 0; j < 8; j++) sink += acc[j];
  return count * (double)BYTES / seconds * 1e-9;
}

int main(int argc, char **argv) {
  size_t bytes = argc > 1 ? strtoul(argv[1], 0, 10) : 64u << 20;
  bytes = (bytes + 4095) / 4096 * 4096;
  vec *data = aligned_alloc(4096, bytes);
  if (!data) return 1;
  memset(data, 0, bytes);
  double flops = 0, rate = 0;
  for (int i = 0; i < 100; i++) {
    double r = fma_rate(200000);
    if (r > flops) flops = r;
  }
  for (int i = 0; i < 50; i++) {
    double r = read_rate(data, bytes);
    if (r > rate) rate = r;
  }
  printf("%.3f %.3f\n", flops, rate);
  return sink[0] == 12345.0f; /* keeps the sums alive */
}

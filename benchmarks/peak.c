/* What chosen cores can do at best, all of them at once:
     peak CORES SECONDS fma|avx2|bf16|int8    operations in Gop/s, 0 where there is no such one
     peak CORES SECONDS loaded                the same of multiply-adds that each read an operand
     peak CORES SECONDS read BYTES            GB/s at which BYTES, shared out, are read repeatedly
   CORES is a list such as 0,1. Two figures: the best of many short runs, and their median. */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#if defined(__AVX512F__)
#define BYTES 64
#elif defined(__AVX__)
#define BYTES 32
#else
#define BYTES 16
#endif
/* Enough independent chains to hide the latency, few enough to stay in 16 registers. */
#define CHAINS 12
#define PASSES 100
#define LEAST 6
#define MOST_CORES 256

typedef float vec __attribute__((vector_size(BYTES)));
typedef float vec32 __attribute__((vector_size(32)));

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec + 1e-9 * t.tv_nsec;
}

/* CHAINS independent chains of STEP, and something that depends on all of them. */
#define LOOP(TYPE, INIT, STEP, SUM)                                                                \
  TYPE acc[CHAINS];                                                                                \
  for (int i = 0; i < CHAINS; i++) acc[i] = INIT;                                                  \
  for (long step = 0; step < steps; step++) {                                                      \
    _Pragma("GCC unroll 12") for (int i = 0; i < CHAINS; i++) { STEP; }                            \
  }                                                                                                \
  float total = 0;                                                                                 \
  for (int i = 0; i < CHAINS; i++) total += SUM;                                                   \
  return total;

static float fma_loop(long steps) {
  vec a, b;
  for (int i = 0; i < BYTES / 4; i++) a[i] = 0.999f, b[i] = 0.001f;
  LOOP(vec, b * (float)i, acc[i] = acc[i] * a + b, acc[i][0])
}

/* Every read is made: the operands are volatile, and lie in the first cache. */
static float loaded_loop(long steps) {
  static volatile vec operands[CHAINS];
  vec a;
  for (int i = 0; i < BYTES / 4; i++) a[i] = 0.999f;
  for (int i = 0; i < CHAINS; i++) operands[i] = 1 - a;
  LOOP(vec, a * (float)i, acc[i] = acc[i] * a + operands[i], acc[i][0])
}

static float narrow_loop(long steps) {
  vec32 a, b;
  for (int i = 0; i < 8; i++) a[i] = 0.999f, b[i] = 0.001f;
  LOOP(vec32, b * (float)i, acc[i] = acc[i] * a + b, acc[i][0])
}

#if defined(__AVX512BF16__)
static float bf16_loop(long steps) {
  __m512bh a = (__m512bh)_mm512_set1_epi16(0x3c00), b = (__m512bh)_mm512_set1_epi16(0x3c01);
  LOOP(__m512, _mm512_set1_ps((float)i), acc[i] = _mm512_dpbf16_ps(acc[i], a, b),
       _mm512_reduce_add_ps(acc[i]))
}
#endif

#if defined(__AVX512VNNI__)
static float int8_loop(long steps) {
  __m512i a = _mm512_set1_epi8(3), b = _mm512_set1_epi8(5);
  LOOP(__m512i, _mm512_set1_epi32(i), acc[i] = _mm512_dpbusd_epi32(acc[i], a, b),
       (float)_mm512_reduce_add_epi32(acc[i]))
}
#define INT8_PER_STEP (2 * 64 * CHAINS)
#elif defined(__AVX2__)
/* Without dot instructions: products summed in pairs of 16 bits, pairs of those in 32. */
static float int8_loop(long steps) {
  __m256i a = _mm256_set1_epi8(3), b = _mm256_set1_epi8(5), one = _mm256_set1_epi16(1);
  /* The empty statement keeps the compiler from taking the product out of the loop. */
  LOOP(__m256i, _mm256_set1_epi32(i), __asm__ volatile("" : "+x"(a));
       acc[i] = _mm256_add_epi32(acc[i], _mm256_madd_epi16(_mm256_maddubs_epi16(a, b), one)),
       (float)_mm256_extract_epi32(acc[i], 0))
}
#define INT8_PER_STEP (2 * 32 * CHAINS)
#endif

static struct { const char *name; float (*loop)(long); int per_step; } kinds[] = {
    {"fma", fma_loop, 2 * BYTES / 4 * CHAINS},
    {"loaded", loaded_loop, 2 * BYTES / 4 * CHAINS},
#if defined(__AVX2__)
    {"avx2", narrow_loop, 2 * 8 * CHAINS},
#endif
#if defined(__AVX512BF16__)
    {"bf16", bf16_loop, 2 * 32 * CHAINS},
#endif
#if defined(INT8_PER_STEP)
    {"int8", int8_loop, INT8_PER_STEP},
#endif
};

static int threads, cores[MOST_CORES];
static float (*loop)(long);
static char *data;
static size_t share; /* bytes that each thread reads */
static long repeats;
static pthread_barrier_t barrier;
static double rates[MOST_CORES][PASSES], started, ended, seconds;
static int count[MOST_CORES];
static volatile int enough;
static volatile float sink;

static float read_share(const char *from) {
  size_t count = share / BYTES / 8 * 8;
  const vec *each = (const vec *)from;
  vec acc[8];
  memset(acc, 0, sizeof acc);
  for (size_t i = 0; i < count; i += 8) {
#pragma GCC unroll 8
    for (int j = 0; j < 8; j++) acc[j] += each[i + j];
  }
  for (int j = 1; j < 8; j++) acc[0] += acc[j];
  return acc[0][0];
}

static void pin(int core) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(core, &set);
  sched_setaffinity(0, sizeof set, &set);
}

static void *compute(void *argument) {
  long me = (long)argument, steps = 100000;
  pin(cores[me]);
  pthread_barrier_wait(&barrier);
  double since = now();
  for (int pass = 0; pass < PASSES && (pass < LEAST || now() - since < seconds); pass++) {
    double start = now();
    sink = loop(steps);
    rates[me][count[me]++] = steps / (now() - start);
  }
  return 0;
}

static void *stream(void *argument) {
  long me = (long)argument;
  pin(cores[me]);
  double since = now();
  for (int pass = 0; pass < PASSES; pass++) {
    if (me == 0 && pass >= LEAST && now() - since > seconds) enough = 1;
    pthread_barrier_wait(&barrier);
    if (enough) break;
    if (me == 0) started = now();
    for (long n = 0; n < repeats; n++) sink = read_share(data + me * share);
    pthread_barrier_wait(&barrier);
    if (me == 0) {
      ended = now();
      rates[0][count[0]++] = (double)share * threads * repeats / (ended - started);
    }
  }
  return 0;
}

static int compare(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

/* Both figures, summed over the cores and multiplied by UNIT. */
static void run(void *(*work)(void *), double unit) {
  pthread_t others[MOST_CORES];
  pthread_barrier_init(&barrier, 0, threads);
  for (long n = 1; n < threads; n++) pthread_create(&others[n], 0, work, (void *)n);
  work((void *)0);
  double best = 0, median = 0;
  for (int n = 0; n < threads; n++) {
    if (n) pthread_join(others[n], 0);
    if (!count[n]) continue;
    qsort(rates[n], count[n], sizeof(double), compare);
    best += rates[n][count[n] - 1], median += rates[n][count[n] / 2];
  }
  printf("%.3f %.3f\n", best * unit, median * unit);
}

int main(int argc, char **argv) {
  if (argc < 4) return 2;
  for (char *each = strtok(argv[1], ","); each && threads < MOST_CORES; each = strtok(0, ","))
    cores[threads++] = atoi(each);
  seconds = atof(argv[2]);
  if (!strcmp(argv[3], "read") && argc > 4) {
    size_t unit = BYTES * 8, bytes = strtoul(argv[4], 0, 10), huge = 2u << 20;
    share = bytes / threads / unit * unit;
    if (!share) share = unit;
    size_t whole = (share * threads + huge - 1) / huge * huge;
    data = aligned_alloc(huge, whole);
    if (!data) return 1;
    madvise(data, whole, MADV_HUGEPAGE); /* as programs hold their weights, where there are such */
    memset(data, 0, whole);
    repeats = 1 + 20000000 / (share * threads); /* some 200 microseconds at least */
    run(stream, 1e-9);
    return 0;
  }
  for (size_t n = 0; n < sizeof kinds / sizeof *kinds; n++)
    if (!strcmp(argv[3], kinds[n].name)) {
      loop = kinds[n].loop;
      run(compute, kinds[n].per_step * 1e-9);
      return 0;
    }
  printf("0 0\n");
  return 0;
}

/* A small random model through the kernels, without Python: prints a checksum of every matrix product's bits and the
   logits of some steps, so that one machine's can be held against another's.

       driver KERNEL THREADS */

#include "model.h"
#include "team.h"
#include "tiles.h"
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

int64_t awsllm_room(int32_t, const Job *, int32_t);
int32_t awsllm_phases(int64_t);
int32_t awsllm_runs(int32_t);
uint32_t awsllm_open(Team *);
void awsllm_lead(Team *, int32_t);
int32_t awsllm_help(Team *, int32_t, int32_t, int64_t);
void awsllm_close(Team *);

enum { C = 64, H = 4, G = 2, D = 32, I = 96, V = 40, L = 3, CAPACITY = 48, STEPS = 12 };

static uint64_t state = 1;

static uint32_t random_bits(void) {
    state = state * 6364136223846793005ull + 1442695040888963407ull;
    return (uint32_t)(state >> 33);
}

static float random_float(float low, float high) {
    return low + (high - low) * (float)(random_bits() >> 7) / 16777216.0f;
}

static void *room(size_t size) {
    void *at = aligned_alloc(128, (size + 127) / 128 * 128);
    memset(at, 0, (size + 127) / 128 * 128);
    return at;
}

static Matrix matrix(int64_t rows, int64_t columns, int64_t bits, int biased) {
    Matrix m = {0, 0, bits, (rows + TILE - 1) / TILE, columns / GROUP};
    int64_t width = bits == 4 ? TILE4 : TILE8, values = bits == 4 ? 256 : 512;
    uint8_t *data = room((size_t)(m.tiles * m.groups * width));
    for (int64_t tile = 0; tile < m.tiles * m.groups; tile++) {
        for (int64_t i = 0; i < values; i++)
            data[tile * width + i] = (uint8_t)(bits == 4 ? random_bits() & 255 : 1 + random_bits() % 255);
        float ends[32];
        for (int i = 0; i < 16; i++) {
            ends[i] = bits == 4 ? random_float(0.02f, 0.05f) : random_float(0.002f, 0.004f);
            ends[i + 16] = random_float(-0.4f, -0.1f);
        }
        for (int i = 0; i < 32; i += 16)
            store_half((uint16_t *)(data + tile * width + values) + i, load(ends + i));
    }
    m.data = data;
    if (biased) {
        float *bias = room((size_t)(m.tiles * TILE * 4));
        for (int64_t i = 0; i < m.tiles * TILE; i++)
            bias[i] = random_float(-0.5f, 0.5f);
        m.bias = bias;
    }
    return m;
}

static const float *floats_of(int64_t count, float low, float high) {
    float *at = room((size_t)count * 4);
    for (int64_t i = 0; i < count; i++)
        at[i] = random_float(low, high);
    return at;
}

static void products(void) {
    for (int bits = 4; bits <= 8; bits += 4)
        for (int64_t rows = 1; rows <= 9; rows++) {
            Matrix m = matrix(48, 96, bits, rows % 2);
            const float *x = floats_of(rows * 96, -2, 2);
            Activations a = {room((size_t)rows * 96), room((size_t)rows * 12), room((size_t)rows * 12)};
            float *out = room((size_t)rows * 48 * 4);
            for (int64_t row = 0; row < rows; row++)
                quantise(x + row * 96, a, row, 96, 0, 3);
            for (int64_t tile = 0; tile < 3; tile++)
                multiply_tile(&m, tile, a, rows, out + tile * TILE, 48);
            uint64_t whole = 14695981039346656037ull;
            double sum = 0;
            for (int64_t i = 0; i < rows * 96; i++)
                whole = (whole ^ (uint8_t)a.values[i]) * 1099511628211ull;
            uint64_t quantised = whole;
            for (int64_t i = 0; i < rows * 48; i++) {
                uint32_t word;
                memcpy(&word, out + i, 4);
                whole = (whole ^ word) * 1099511628211ull;
                sum += out[i];
            }
            printf("product %d %d %016llx %016llx %.7g\n", bits, (int)rows, (unsigned long long)quantised,
                   (unsigned long long)whole, sum);
        }
}

typedef struct {
    Team *team;
    int32_t kernel, thread;
} Helper;

static void *help(void *given) {
    Helper *h = given;
    awsllm_help(h->team, h->kernel, h->thread, 1ll << 60);
    return 0;
}

static void model(int32_t kernel, int32_t threads, int style) {
    static Layer layers[L];
    for (int n = 0; n < L; n++) {
        layers[n] = (Layer){matrix((H + 2 * G) * D, C, n % 2 ? 8 : 4, style), matrix(C, H * D, 4, style),
                            matrix(style ? I : 2 * I, C, n % 2 ? 4 : 8, style), matrix(C, I, 8, style), {0, 0}, {0, 0},
                            {0, 0}, {0, 0}, 0, 0, 0, 0, 0};
        layers[n].before = (Norm){floats_of(C, 0.5f, 1.5f), style ? floats_of(C, -1, 1) : 0};
        layers[n].mlp_before = (Norm){floats_of(C, 0.5f, 1.5f), style ? floats_of(C, -1, 1) : 0};
        if (!style) {
            layers[n].after = (Norm){floats_of(C, 0.5f, 1.5f), 0};
            layers[n].query_norm = floats_of((H + G) * D, 0.5f, 1.5f);
            layers[n].key_norm = layers[n].query_norm + H * D;
            layers[n].sinks = floats_of(H, -1, 1);
            layers[n].window = n == 1 ? 5 : 0;
        }
        layers[n].rope = style ? -1 : 0;
    }
    Rope rope = {floats_of(D / 2, 0.01f, 1), 0, floats_of(D / 2, 0.9f, 1.1f)};
    Model m = {matrix(V, C, 8, 0), matrix(V, C, 4, 0), layers, {floats_of(C, 0.5f, 1.5f), style ? floats_of(C, -1, 1) : 0},
               &rope, style ? floats_of(CAPACITY * C, -0.1f, 0.1f) : 0, L, style ? 0 : 1, C, H, G, D, I, V,
               style ? NORM_LAYER : NORM_RMS, !style, style ? GELU_TANH : SILU, 0, 1e-5f, 0.17f, style ? 0 : 20.0f,
               style ? 0 : 30.0f, 1.5f, 0.5f, 1.0f};
    Cache cache = {room(L * G * CAPACITY * D * 2), room(L * G * CAPACITY * D * 2), CAPACITY, 0};
    Team *team = room(sizeof *team);
    team->threads = threads;
    team->phase_count = awsllm_phases(L);
    team->phases = room((size_t)team->phase_count * sizeof(Phase));
    pthread_t others[MAX_THREADS];
    Helper helpers[MAX_THREADS];
    for (int n = 1; n < threads; n++) {
        helpers[n] = (Helper){team, kernel, n};
        pthread_create(&others[n], 0, help, &helpers[n]);
    }
    int32_t next = 1, past = 0;
    for (int step = 0; step < STEPS; step++) {
        int32_t rows = step ? 1 : 21, tokens[21], positions[21], owners[21] = {0}, wanted = rows - 1;
        for (int i = 0; i < rows; i++) {
            tokens[i] = (next + 7 * i) % V;
            positions[i] = past + i;
        }
        float out[V];
        team->job = (Job){&m, tokens, positions, owners, &wanted, &cache, 0, out, rows, 1, 0, past + rows};
        team->job.scratch = room((size_t)awsllm_room(kernel, &team->job, threads) + 128);
        awsllm_open(team);
        awsllm_lead(team, kernel);
        past += rows;
        printf("logits %d %d", style, step);
        next = 0;
        for (int i = 0; i < V; i++) {
            printf(" %.9g", out[i]);
            next = out[i] > out[next] ? i : next;
        }
        printf("\n");
        free(team->job.scratch);
    }
    awsllm_close(team);
    for (int n = 1; n < threads; n++)
        pthread_join(others[n], 0);
}

int main(int count, char **arguments) {
    int32_t kernel = count > 1 ? atoi(arguments[1]) : 0, threads = count > 2 ? atoi(arguments[2]) : 1;
    if (!awsllm_runs(kernel))
        return 3;
    products();
    model(kernel, threads, 0);
    model(kernel, threads, 1);
    return 0;
}

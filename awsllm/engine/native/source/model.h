/* What a step reads and writes. `awsllm/engine/native/library.py` has the same structures for ctypes.

   C channels, H query heads, G key/value heads, D channels of a head, I channels within an MLP, E experts, V tokens of
   the vocabulary, M rows of a step: tokens of any sequences. C, I and H D are multiples of a group; V is padded.

   Weights lie in tiles of 16 output rows, and each tile in groups of 32 input channels (the sizes are in bytes):

       4 bits   256 values, 32 scales, 32 minimums    a weight is scale * value + minimum, values 0 to 15
       8 bits   512 values, 32 scales, 32 unused      a weight is scale * (value - 128), values 1 to 255

   Values come in fours of neighbouring channels, a row's after the other's, as dot products of bytes take them; the
   4-bit ones hold channels 8 h to 8 h + 3 in the low halves and the next four in the high ones. Scales and minimums
   are float16, one a row. */

#ifndef AWSLLM_MODEL_H
#define AWSLLM_MODEL_H

#include <stdint.h>

enum { GROUP = 32, TILE = 16, TILE4 = 320, TILE8 = 576 };
enum { SILU, GELU, GELU_TANH, RELU, CLAMPED };
enum { NORM_NONE, NORM_RMS, NORM_LAYER };
enum { MAP_QKV, MAP_OUTPUT, MAP_UP, MAP_DOWN, MAPS }; /* of a layer, those that an adapter may stand beside */
enum { MAP_PARTS = 3 };                                /* maps that are computed as one: queries, keys, values */

typedef struct {
    const uint8_t *data;
    const float *bias; /* or null */
    int64_t bits, tiles, groups;
} Matrix;

typedef struct {
    const float *weight, *bias; /* null: there is no such norm */
} Norm;

typedef struct {
    Matrix qkv, output, up, down; /* up: the gate's rows first where there is one */
    Norm before, after, mlp_before, mlp_after;
    const float *query_norm, *key_norm; /* (H, D) and (G, D), or null */
    const float *sinks;                 /* (H), or null */
    int64_t rope;                       /* which of the model's, or -1 */
    int64_t window;                     /* tokens seen, itself included; 0: all */
    const Matrix *expert_up, *expert_down; /* (E) each, in the place of `up` and `down`, or null */
    const float *router, *router_bias;     /* (E, C); (E) or null */
} Layer;

typedef struct {
    const float *short_, *long_, *amplitude; /* (D / 2) each; the last two or null */
    const int32_t *axes;                     /* (D / 2), by which of three axes each pair turns, or null: by position */
} Rope;

typedef struct {
    Matrix table, head;
    const Layer *layers;
    Norm final;
    const Rope *ropes;
    const float *positions; /* (context, C), or null */
    int64_t layer_count, rope_count, channels, heads, groups, head_dim, inner, vocabulary;
    int64_t norm, gated, activation, whole_norm; /* whole_norm: queries, and keys, are normed over all heads together */
    int64_t experts, used, normalised; /* 0, or `used` of so many a row; normalised: their weights are 1 together */
    float epsilon, attention_scale, attention_cap, logit_cap, embedding_scale, residual_scale, logit_scale;
} Model;

/* Beside a map, what an adapter has: values go through a narrow map, R = `rank` wide, and what comes out is added to the
   tiles of each part. All weights are float16, no larger than 1; `scale` has what they were divided by. */
typedef struct {
    int64_t tile, tiles, begin, rank; /* which tiles of the map, and which of the narrow values go there */
    const uint16_t *out;              /* (tiles, rank, 16) */
} NarrowPart;

typedef struct {
    const uint16_t *in; /* (R, K), K the map's inputs */
    const float *scale; /* (R) */
    int64_t rank, part_count; /* a multiple of four; 0: nothing beside this map */
    NarrowPart parts[MAP_PARTS];
} Narrow;

/* One sequence's keys and values, float16, in room for `capacity` tokens, a multiple of 16:
   keys (layers, G, capacity / 16, D, 16), values (layers, G, capacity, D). */
typedef struct {
    uint16_t *keys, *values;
    int64_t capacity, long_;
    const Narrow *adapter; /* (layers, MAPS), or null */
} Cache;

typedef struct {
    const Model *model;
    const int32_t *tokens;    /* (M); below 0: row -1 - token of `vectors` */
    const int32_t *positions; /* (M), in the token's sequence */
    const int32_t *seen;      /* (M), the last position that a row sees: its own, or the last of its image */
    const int32_t *places;    /* (M, 3), on three axes, or null */
    const int32_t *owners;    /* (M), which cache */
    const int32_t *wanted;    /* (rows whose logits are asked for) */
    const Cache *caches;
    const float *vectors; /* (…, C) */
    float *logits;        /* (wanted, V) */
    int64_t rows, wanted_count;
    /* room for what goes from one phase to the next, of at least `room(model, rows, threads)` bytes */
    uint8_t *scratch;
    int64_t longest; /* position, of all rows, plus one */
    int64_t narrow;  /* the largest rank of the adapters of the caches; 0: there is none */
} Job;

#endif

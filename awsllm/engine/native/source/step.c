/* One step of a decoder: the logits that follow some rows, whose keys and values are appended to their caches.

   Compiled once for each instruction set, which `KERNEL` names. */

#include "team.h"
#include "tiles.h"

#define PASTE(a, b) a##_##b
#define NAMED(a, b) PASTE(a, b)
#define WALK NAMED(walk, KERNEL) /* walk_avx512, say */
#define ROOM NAMED(room, KERNEL)

enum { FEW = 4, QUERIES = 8 }; /* rows that every thread prepares for itself; queries that attend together */

typedef struct {
    int32_t row, rows, group, head, heads; /* heads: of the group's, from `head` on */
} Unit;

/* Which experts rows want (`mixture.h`); a slot is a row and one of its experts. */
typedef struct {
    float *logits;   /* (M, E padded) */
    int32_t *chosen; /* (M, used), a row's in the order of experts */
    float *share;    /* (M, used), what each weighs */
    /* of this thread */
    int32_t *slots;  /* (M used), by expert and then by row */
    int32_t *ends;   /* (E), of an expert's slots */
    int32_t *blocks; /* (E), of eight rows of `inner`: where an expert's begin */
    int32_t *active; /* (E), the experts that any row wants */
    int64_t active_count, sorted; /* sorted: for this layer */
    Activations gathered; /* (M, C), the rows of one expert */
} Routes;

typedef struct {
    float *x, *qkv, *mixed, *y, *cosine, *sine;
    Activations in, attended, inner, last;
    Unit *units;
    int64_t *unit_count;
    float *narrow; /* (M, narrow) of adapters (`beside.h`) */
    Routes routes;
    /* of this thread */
    Activations own;
    float *row, *part, *scores;
    int64_t scores_stride;
    int64_t bytes;
} Room;

INLINE int64_t larger_of(int64_t a, int64_t b) {
    return a > b ? a : b;
}

INLINE int64_t padded(int64_t count) {
    return (count + 15) / 16 * 16;
}

static uint8_t *cut(uint8_t **from, int64_t bytes) {
    uint8_t *at = *from;
    *from += (bytes + 127) / 128 * 128;
    return at;
}

static Activations cut_activations(uint8_t **from, int64_t rows, int64_t size) {
    int64_t groups = size / GROUP, blocks = (rows + BLOCK - 1) / BLOCK;
    int8_t *values = (int8_t *)cut(from, blocks * groups * BLOCK * GROUP);
    return (Activations){values, (float *)cut(from, blocks * groups * 2 * BLOCK * 4), groups};
}

static void cut_routes(uint8_t **from, const Model *m, int64_t rows, Routes *to, int own) {
    Routes r = *to;
    r.slots = (int32_t *)cut(from, rows * m->used * 4);
    r.ends = (int32_t *)cut(from, m->experts * 4);
    r.blocks = (int32_t *)cut(from, m->experts * 4);
    r.active = (int32_t *)cut(from, m->experts * 4);
    r.gathered = cut_activations(from, rows, m->channels);
    if (own)
        *to = r;
}

static Room room_of(const Job *job, int threads, int thread) {
    const Model *m = job->model;
    int64_t rows = job->rows, c = m->channels, heads = m->heads + 2 * m->groups, d = m->head_dim;
    uint8_t *at = job->scratch;
    Room r;
    r.x = (float *)cut(&at, rows * c * 4);
    r.qkv = (float *)cut(&at, rows * heads * d * 4);
    r.mixed = (float *)cut(&at, rows * m->heads * d * 4);
    r.y = (float *)cut(&at, rows * c * 4);
    r.cosine = (float *)cut(&at, m->rope_count * rows * d / 2 * 4);
    r.sine = (float *)cut(&at, m->rope_count * rows * d / 2 * 4);
    r.in = cut_activations(&at, rows, c);
    r.attended = cut_activations(&at, rows, m->heads * d);
    int64_t slots = rows * m->used, parts = slots < m->experts ? slots : m->experts; /* each begins a block */
    r.inner = cut_activations(&at, m->experts ? slots + parts * (BLOCK - 1) : rows, m->inner);
    r.last = cut_activations(&at, job->wanted_count, c);
    r.units = (Unit *)cut(&at, rows * m->heads * (int64_t)sizeof(Unit));
    r.unit_count = (int64_t *)cut(&at, 8);
    r.narrow = (float *)cut(&at, rows * job->narrow * 4);
    r.routes.logits = (float *)cut(&at, rows * padded(m->experts) * 4);
    r.routes.chosen = (int32_t *)cut(&at, rows * m->used * 4);
    r.routes.share = (float *)cut(&at, rows * m->used * 4);
    int64_t widest = larger_of(larger_of(c, m->heads * d), m->inner);
    r.scores_stride = padded(job->longest) + 16;
    for (int i = 0; i < threads; i++) {
        Activations own = cut_activations(&at, FEW, c);
        float *row = (float *)cut(&at, widest * 4), *part = (float *)cut(&at, larger_of(rows, FEW) * 2 * TILE * 4);
        float *scores = (float *)cut(&at, QUERIES * r.scores_stride * 4);
        if (m->experts)
            cut_routes(&at, m, rows, &r.routes, i == thread);
        if (i == thread)
            r.own = own, r.row = row, r.part = part, r.scores = scores;
    }
    r.bytes = at - job->scratch;
    return r;
}

/* --- norms --- */

static float squares(const float *x, int64_t n) {
    Vector total = splat(0.0f);
    for (int64_t i = 0; i < n; i += 16) {
        Vector v = load(x + i);
        total = multiply_add(v, v, total);
    }
    return sum(total);
}

static void root_mean_square_norm(const float *x, const float *weight, float *out, int64_t n, float epsilon) {
    Vector scale = splat(1.0f / sqrtf(squares(x, n) / (float)n + epsilon));
    for (int64_t i = 0; i < n; i += 16)
        store(out + i, load(x + i) * scale * load(weight + i));
}

static void layer_norm(const float *x, Norm norm, float *out, int64_t n, float epsilon) {
    Vector total = splat(0.0f);
    for (int64_t i = 0; i < n; i += 16)
        total += load(x + i);
    Vector mean = splat(sum(total) / (float)n), spread = splat(0.0f);
    for (int64_t i = 0; i < n; i += 16) {
        Vector v = load(x + i) - mean;
        spread = multiply_add(v, v, spread);
    }
    Vector scale = splat(1.0f / sqrtf(sum(spread) / (float)n + epsilon));
    for (int64_t i = 0; i < n; i += 16)
        store(out + i, multiply_add((load(x + i) - mean) * scale, load(norm.weight + i), load(norm.bias + i)));
}

/* The row as it is where there is no norm. */
static const float *normed(const Model *m, Norm norm, const float *x, float *room) {
    if (!norm.weight)
        return x;
    if (m->norm == NORM_LAYER)
        layer_norm(x, norm, room, m->channels, m->epsilon);
    else
        root_mean_square_norm(x, norm.weight, room, m->channels, m->epsilon);
    return room;
}

static void prepare(const Model *m, Norm norm, const float *x, float *room, Activations to, int64_t row) {
    quantise(normed(m, norm, x, room), to, row, 0, to.groups);
}

/* --- embeddings and angles --- */

static void table_row(const Matrix *table, int64_t token, float *out) {
    const uint8_t *at = table->data + token / TILE * table->groups * TILE8;
    int64_t lane = token % TILE;
    for (int64_t g = 0; g < table->groups; g++, at += TILE8) {
        float d[16];
        store(d, load_half((const uint16_t *)(at + 512)));
        for (int h = 0; h < 8; h++)
            for (int j = 0; j < 4; j++)
                out[g * GROUP + 4 * h + j] = d[lane] * (float)((int32_t)at[64 * h + 4 * lane + j] - 128);
    }
}

static void embed(const Job *job, Room *r, int64_t row) {
    const Model *m = job->model;
    float *x = r->x + row * m->channels;
    int32_t token = job->tokens[row];
    if (token < 0)
        memcpy(x, job->vectors + (int64_t)(-1 - token) * m->channels, (size_t)m->channels * 4);
    else
        table_row(&m->table, token, x);
    const float *position = m->positions ? m->positions + job->positions[row] * m->channels : 0;
    for (int64_t i = 0; i < m->channels; i += 16) {
        Vector v = load(x + i);
        if (token >= 0)
            v *= splat(m->embedding_scale);
        store(x + i, position ? v + load(position + i) : v);
    }
}

static void angles(const Job *job, Room *r, int64_t row) {
    const Model *m = job->model;
    int64_t half = m->head_dim / 2;
    for (int64_t n = 0; n < m->rope_count; n++) {
        const Rope *rope = m->ropes + n;
        const float *speed = rope->long_ && job->caches[job->owners[row]].long_ ? rope->long_ : rope->short_;
        float *cosine = r->cosine + (n * job->rows + row) * half, *sine = r->sine + (n * job->rows + row) * half;
        for (int64_t i = 0; i < half; i++) {
            int32_t place = rope->axes ? job->places[row * 3 + rope->axes[i]] : job->positions[row];
            float angle = (float)place * speed[i], amplitude = rope->amplitude ? rope->amplitude[i] : 1.0f;
            cosine[i] = cosf(angle) * amplitude;
            sine[i] = sinf(angle) * amplitude;
        }
    }
}

/* --- attention --- */

/* Rows of one sequence that follow each other attend together, and query heads that share a key head. */
static void divide(const Job *job, Room *r, int threads) {
    const Model *m = job->model;
    int64_t shared = m->heads / m->groups, count = 0;
    int64_t heads = shared < QUERIES ? shared : QUERIES;
    while (heads > 1 && job->rows * m->groups * ((shared + heads - 1) / heads) < 2 * threads)
        heads--;
    for (int64_t row = 0; row < job->rows;) {
        int64_t rows = 1;
        while (row + rows < job->rows && (rows + 1) * heads <= QUERIES && job->owners[row + rows] == job->owners[row] &&
               job->positions[row + rows] == job->positions[row] + rows)
            rows++;
        for (int64_t g = 0; g < m->groups; g++)
            for (int64_t h = 0; h < shared; h += heads)
                r->units[count++] = (Unit){(int32_t)row, (int32_t)rows, (int32_t)g, (int32_t)h,
                                           (int32_t)(shared - h < heads ? shared - h : heads)};
        row += rows;
    }
    *r->unit_count = count;
}

static void turn(float *head, const float *cosine, const float *sine, int64_t half) {
    int64_t i = 0;
    for (; i + 16 <= half; i += 16) {
        Vector a = load(head + i), b = load(head + i + half), c = load(cosine + i), s = load(sine + i);
        store(head + i, a * c - b * s);
        store(head + i + half, b * c + a * s);
    }
    for (; i < half; i++) {
        float a = head[i], b = head[i + half];
        head[i] = a * cosine[i] - b * sine[i];
        head[i + half] = b * cosine[i] + a * sine[i];
    }
}

static void keep_key(const Model *m, const Cache *cache, int64_t layer, int64_t group, int64_t position, const float *k) {
    int64_t d = m->head_dim, tiles = cache->capacity / TILE;
    uint16_t *to = cache->keys + ((layer * m->groups + group) * tiles + position / TILE) * d * TILE + position % TILE;
    uint16_t half[16];
    for (int64_t i = 0; i < d; i += 16) {
        store_half(half, load(k + i));
        for (int j = 0; j < 16; j++)
            to[(i + j) * TILE] = half[j];
    }
}

/* Norms and turns a row's queries and keys, and keeps its keys and values. `head` of all H + 2 G. */
static void place_head(const Job *job, Room *r, int64_t layer, int64_t row, int64_t head) {
    const Model *m = job->model;
    const Layer *l = m->layers + layer;
    int64_t d = m->head_dim, half = d / 2;
    float *at = r->qkv + (row * (m->heads + 2 * m->groups) + head) * d;
    const Cache *cache = job->caches + job->owners[row];
    int64_t position = job->positions[row], group = head - m->heads;
    if (group >= m->groups) {
        group -= m->groups;
        uint16_t *to = cache->values + ((layer * m->groups + group) * cache->capacity + position) * d;
        for (int64_t i = 0; i < d; i += 16)
            store_half(to + i, load(at + i));
        return;
    }
    if (l->query_norm && !m->whole_norm)
        root_mean_square_norm(at, group < 0 ? l->query_norm + head * d : l->key_norm + group * d, at, d, m->epsilon);
    if (l->rope >= 0) {
        int64_t place = (l->rope * job->rows + row) * half;
        turn(at, r->cosine + place, r->sine + place, half);
    }
    if (group >= 0)
        keep_key(m, cache, layer, group, position, at);
    else
        for (int64_t i = 0; i < d; i += 16)
            store(at + i, load(at + i) * splat(m->attention_scale));
}

static void norm_whole(const Job *job, Room *r, const Layer *l, int64_t row) {
    const Model *m = job->model;
    float *q = r->qkv + row * (m->heads + 2 * m->groups) * m->head_dim, *k = q + m->heads * m->head_dim;
    root_mean_square_norm(q, l->query_norm, q, m->heads * m->head_dim, m->epsilon);
    root_mean_square_norm(k, l->key_norm, k, m->groups * m->head_dim, m->epsilon);
}

typedef struct {
    const float *query;
    float *scores, *out;
    int64_t first, last; /* of the positions that it sees */
    float sink;
    int has_sink;
} Query;

/* Scores of the 16 positions of a tile of keys; `count` is a constant. Channels are added in four parts: for few queries
   side by side, as one sum alone would wait for each of its terms. */
INLINE void score_tile(const uint16_t *keys, Query *q, const int count, int64_t d, int64_t position) {
    const int parts = count <= 2 ? 4 : 1;
    const int64_t quarter = d / 4;
    Vector total[QUERIES], s[4][QUERIES];
    for (int first = 0; first < 4; first += parts) {
#pragma GCC unroll 8
        for (int n = 0; n < count; n++)
#pragma GCC unroll 4
            for (int part = 0; part < parts; part++)
                s[part][n] = splat(0.0f);
        for (int64_t i = 0; i < quarter; i++)
#pragma GCC unroll 4
            for (int part = 0; part < parts; part++) {
                int64_t channel = (first + part) * quarter + i;
                Vector key = load_half(keys + channel * TILE);
#pragma GCC unroll 8
                for (int n = 0; n < count; n++)
                    s[part][n] = multiply_add(splat(q[n].query[channel]), key, s[part][n]);
            }
#pragma GCC unroll 8
        for (int n = 0; n < count; n++)
#pragma GCC unroll 4
            for (int part = 0; part < parts; part++)
                total[n] = first + part ? total[n] + s[part][n] : s[part][n];
    }
#pragma GCC unroll 8
    for (int n = 0; n < count; n++)
        store(q[n].scores + position, total[n]);
}

static void score(const uint16_t *keys, Query *q, int count, int64_t d, int64_t from, int64_t to) {
    for (int64_t p = from; p < to; p += TILE) {
        const uint16_t *tile = keys + p * d;
        switch (count) {
        case 1: score_tile(tile, q, 1, d, p); break;
        case 2: score_tile(tile, q, 2, d, p); break;
        case 3: score_tile(tile, q, 3, d, p); break;
        case 4: score_tile(tile, q, 4, d, p); break;
        case 5: score_tile(tile, q, 5, d, p); break;
        case 6: score_tile(tile, q, 6, d, p); break;
        case 7: score_tile(tile, q, 7, d, p); break;
        default: score_tile(tile, q, 8, d, p);
        }
    }
}

/* From scores to what each position weighs, 0 where it is not seen, and the sum of it all. */
static float weigh(Query *q, int64_t from, int64_t to, float cap) {
    const Integers lanes = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    Vector best = splat(-INFINITY), total = splat(0.0f);
    for (int64_t p = from; p < to; p += 16) {
        Integers place = lanes + (int32_t)p;
        Vector s = load(q->scores + p);
        if (cap > 0)
            s = hyperbolic_tangent(s / splat(cap)) * splat(cap);
        Integers seen = (place >= (int32_t)q->first) & (place <= (int32_t)q->last);
        s = choose(seen, s, splat(-INFINITY));
        best = larger(s, best);
        store(q->scores + p, s);
    }
    float peak = largest(best);
    if (q->has_sink && q->sink > peak)
        peak = q->sink;
    for (int64_t p = from; p < to; p += 16) {
        Vector e = exponential(load(q->scores + p) - splat(peak));
        total += e;
        store(q->scores + p, e);
    }
    float all = sum(total);
    if (q->has_sink) {
        float own[16];
        store(own, exponential(splat(q->sink - peak)));
        all += own[0];
    }
    return all;
}

/* Some channels of the sum of values; `count` and `width`, in vectors, are constants. */
INLINE void mix_channels(const uint16_t *values, Query *q, const int count, const int width, int64_t d, int64_t from,
                         int64_t end, int64_t channel) {
    Vector a[QUERIES][4];
#pragma GCC unroll 8
    for (int n = 0; n < count; n++)
#pragma GCC unroll 4
        for (int i = 0; i < width; i++)
            a[n][i] = splat(0.0f);
    const uint16_t *at = values + from * d + channel;
    for (int64_t p = from; p < end; p++, at += d)
#pragma GCC unroll 4
        for (int i = 0; i < width; i++) {
            Vector v = load_half(at + 16 * i);
#pragma GCC unroll 8
            for (int n = 0; n < count; n++)
                a[n][i] = multiply_add(splat(q[n].scores[p]), v, a[n][i]);
        }
#pragma GCC unroll 8
    for (int n = 0; n < count; n++)
#pragma GCC unroll 4
        for (int i = 0; i < width; i++)
            store(q[n].out + channel + 16 * i, a[n][i]);
}

/* All channels, so many at a time that their sums are in registers and do not wait for each other. */
INLINE void mix_all(const uint16_t *values, Query *q, const int count, int64_t d, int64_t from, int64_t end) {
    int64_t channel = 0;
    for (; count <= 4 && channel + 64 <= d; channel += 64)
        mix_channels(values, q, count, 4, d, from, end, channel);
    for (; channel + 32 <= d; channel += 32)
        mix_channels(values, q, count, 2, d, from, end, channel);
    for (; channel < d; channel += 16)
        mix_channels(values, q, count, 1, d, from, end, channel);
}

static void mix(const uint16_t *values, Query *q, int count, int64_t d, int64_t from, int64_t end) {
    switch (count) {
    case 1: mix_all(values, q, 1, d, from, end); break;
    case 2: mix_all(values, q, 2, d, from, end); break;
    case 3: mix_all(values, q, 3, d, from, end); break;
    case 4: mix_all(values, q, 4, d, from, end); break;
    case 5: mix_all(values, q, 5, d, from, end); break;
    case 6: mix_all(values, q, 6, d, from, end); break;
    case 7: mix_all(values, q, 7, d, from, end); break;
    default: mix_all(values, q, 8, d, from, end);
    }
}

static void attend(const Job *job, Room *r, int64_t layer, const Unit *u) {
    const Model *m = job->model;
    const Layer *l = m->layers + layer;
    int64_t d = m->head_dim, shared = m->heads / m->groups, wide = m->heads + 2 * m->groups;
    const Cache *cache = job->caches + job->owners[u->row];
    const uint16_t *keys = cache->keys + (layer * m->groups + u->group) * cache->capacity * d;
    const uint16_t *values = cache->values + (layer * m->groups + u->group) * cache->capacity * d;
    Query q[QUERIES];
    int count = 0;
    for (int row = u->row; row < u->row + u->rows; row++)
        for (int h = 0; h < u->heads; h++, count++) {
            int64_t head = u->group * shared + u->head + h, position = job->positions[row];
            q[count].query = r->qkv + (row * wide + head) * d;
            q[count].scores = r->scores + count * r->scores_stride;
            q[count].out = r->mixed + (row * m->heads + head) * d;
            q[count].first = l->window && position >= l->window ? position + 1 - l->window : 0;
            q[count].last = job->seen[row];
            q[count].has_sink = l->sinks != 0;
            q[count].sink = l->sinks ? l->sinks[head] : 0.0f;
        }
    int64_t from = q[0].first / TILE * TILE, end = q[count - 1].last + 1;
    score(keys, q, count, d, from, end);
    float total[QUERIES];
    for (int n = 0; n < count; n++)
        total[n] = weigh(q + n, from, end, m->attention_cap);
    mix(values, q, count, d, from, end);
    for (int n = 0; n < count; n++)
        for (int64_t i = 0; i < d; i += 16)
            store(q[n].out + i, load(q[n].out + i) / splat(total[n]));
    if (d % GROUP)
        return;
    for (int n = 0; n < count; n++) {
        int64_t row = u->row + n / u->heads, head = u->group * shared + u->head + n % u->heads;
        quantise(q[n].out, r->attended, row, head * d / GROUP, d / GROUP);
    }
}

/* --- linear maps --- */

#include "beside.h"

typedef struct {
    int64_t per, count;
} Chunks;

/* So many chunks that threads end together, and not so many that they meet at the counter all the time. */
static Chunks chunks(int64_t total, int threads) {
    int64_t per = larger_of(1, total / (6 * threads));
    return (Chunks){per, (total + per - 1) / per};
}

static Vector exact_gelu(Vector v) {
    for (int i = 0; i < 16; i++)
        v[i] = 0.5f * v[i] * (1.0f + erff(v[i] * 0.70710678118654752f));
    return v;
}

INLINE Vector activated(const Model *m, Vector v) {
    switch (m->activation) {
    case SILU: return v * logistic(v);
    case RELU: return larger(v, splat(0.0f));
    case GELU: return exact_gelu(v);
    default: {
        Vector inner = splat(0.7978845608028654f) * multiply_add(splat(0.044715f) * v * v, v, v);
        return splat(0.5f) * v * (splat(1.0f) + hyperbolic_tangent(inner));
    }
    }
}

INLINE Vector gate(const Model *m, Vector g, Vector up) {
    if (m->activation != CLAMPED)
        return activated(m, g) * up;
    const Vector limit = splat(7.0f);
    g = choose(g > limit, limit, g);
    up = choose(up > limit, limit, choose(up < -limit, -limit, up));
    return g * logistic(g * splat(1.702f)) * (up + splat(1.0f));
}

/* Channels 32 n to 32 n + 31 of what is within the MLP, for all rows. */
static void inner_group(const Job *job, Room *r, const Matrix *up, const Layer *l, Activations x, int64_t n) {
    const Model *m = job->model;
    int64_t rows = job->rows, half = up->tiles / 2;
    for (int side = 0; side < 2; side++) {
        int64_t tile = 2 * n + side;
        float *out = r->part + side * TILE;
        if (!m->gated) {
            multiply_tile(up, tile, x, rows, out, 2 * TILE);
            add_beside(job, r, l, MAP_UP, tile, 0, rows, out, 2 * TILE);
            for (int64_t row = 0; row < rows; row++)
                store(out + row * 2 * TILE, activated(m, load(out + row * 2 * TILE)));
            continue;
        }
        for (int64_t row = 0; row < rows; row += 8) { /* eight rows at a time, so that the gate's stay near */
            int64_t count = rows - row < 8 ? rows - row : 8;
            float gates[8 * TILE];
            Activations some = rows_from(x, row);
            multiply_tile(up, tile, some, count, gates, TILE);
            multiply_tile(up, half + tile, some, count, out + row * 2 * TILE, 2 * TILE);
            add_beside(job, r, l, MAP_UP, tile, row, count, gates, TILE);
            add_beside(job, r, l, MAP_UP, half + tile, row, count, out + row * 2 * TILE, 2 * TILE);
            for (int64_t i = 0; i < count; i++) {
                float *at = out + (row + i) * 2 * TILE;
                store(at, gate(m, load(gates + i * TILE), load(at)));
            }
        }
    }
    for (int64_t row = 0; row < rows; row++)
        quantise_group(r->part + row * 2 * TILE, r->inner, row, n);
}

/* Adds a tile of all rows to the residual stream, or keeps it for the norm that comes before that. */
static void add_part(const Job *job, Room *r, const float *part, int64_t tile, int keep) {
    const Model *m = job->model;
    for (int64_t row = 0; row < job->rows; row++) {
        int64_t at = row * m->channels + tile * TILE;
        Vector v = load(part + row * TILE);
        if (keep)
            store(r->y + at, v);
        else
            store(r->x + at, multiply_add(v, splat(m->residual_scale), load(r->x + at)));
    }
}

static void add_tile(const Job *job, Room *r, const Layer *l, int map, Activations x, int64_t tile, int keep) {
    multiply_tile(map == MAP_OUTPUT ? &l->output : &l->down, tile, x, job->rows, r->part, TILE);
    add_beside(job, r, l, map, tile, 0, job->rows, r->part, TILE);
    add_part(job, r, r->part, tile, keep);
}

static void add_normed(const Job *job, Room *r, Norm norm, int64_t row) {
    const Model *m = job->model;
    const float *v = normed(m, norm, r->y + row * m->channels, r->row);
    float *x = r->x + row * m->channels;
    for (int64_t i = 0; i < m->channels; i += 16)
        store(x + i, multiply_add(load(v + i), splat(m->residual_scale), load(x + i)));
}

static void logits(const Job *job, Room *r, Activations x, int64_t tile) {
    const Model *m = job->model;
    multiply_tile(&m->head, tile, x, job->wanted_count, r->part, TILE);
    int64_t left = m->vocabulary - tile * TILE, count = left < TILE ? left : TILE;
    for (int64_t row = 0; row < job->wanted_count; row++) {
        Vector v = load(r->part + row * TILE) * splat(m->logit_scale);
        if (m->logit_cap > 0)
            v = hyperbolic_tangent(v / splat(m->logit_cap)) * splat(m->logit_cap);
        memcpy(job->logits + row * m->vocabulary + tile * TILE, &v, (size_t)count * 4);
    }
}

/* --- phases --- */

/* What goes into a map: the normed rows, prepared by all threads together, or by each for itself where they are few. */
typedef struct {
    Activations x;
    int ready;
} Input;

static void prepare_rows(Walker *w, const Job *job, Room *r, Norm norm, Input *input) {
    const Model *m = job->model;
    *input = (Input){r->own, 0};
    if (job->rows <= FEW)
        return;
    *input = (Input){r->in, 1};
    Chunks c = chunks(job->rows, w->team->threads);
    EACH_CHUNK(w, n, c.count)
        for (int64_t row = n * c.per; row < (n + 1) * c.per && row < job->rows; row++)
            prepare(m, norm, r->x + row * m->channels, r->row, r->in, row);
    settle(w, c.count);
}

static void prepare_here(const Job *job, Room *r, Norm norm, Input *input) {
    for (int64_t row = 0; !input->ready && row < job->rows; row++)
        prepare(job->model, norm, r->x + row * job->model->channels, r->row, r->own, row);
    input->ready = 1;
}

/* The narrow values of the rows that have something beside the map. */
static __attribute__((noinline)) void narrow(Walker *w, const Job *job, Room *r, const Layer *l, int map, Norm norm,
                                             Input *input) {
    if (!job->narrow)
        return;
    int64_t pieces = (job->narrow + PIECE - 1) / PIECE, count = job->rows * pieces;
    EACH_CHUNK(w, n, count) {
        int64_t row = n / pieces, from = n % pieces * PIECE;
        const Narrow *own = narrow_of(job, l, map, row);
        if (!own || from >= own->rank)
            continue;
        prepare_here(job, r, norm, input);
        narrow_row(job, r, own, input->x, row, from, own->rank - from < PIECE ? own->rank : from + PIECE);
    }
    settle(w, count);
}

static void begin(Walker *w, const Job *job, Room *r) {
    EACH_CHUNK(w, row, job->rows) {
        if (row == 0)
            divide(job, r, w->team->threads);
        embed(job, r, row);
        angles(job, r, row);
    }
    settle(w, job->rows);
}

static void project(Walker *w, const Job *job, Room *r, const Layer *l) {
    Input input;
    prepare_rows(w, job, r, l->before, &input);
    narrow(w, job, r, l, MAP_QKV, l->before, &input);
    Chunks c = chunks(l->qkv.tiles, w->team->threads);
    int64_t stride = (job->model->heads + 2 * job->model->groups) * job->model->head_dim;
    EACH_CHUNK(w, n, c.count) {
        prepare_here(job, r, l->before, &input);
        for (int64_t tile = n * c.per; tile < (n + 1) * c.per && tile < l->qkv.tiles; tile++) {
            multiply_tile(&l->qkv, tile, input.x, job->rows, r->qkv + tile * TILE, stride);
            add_beside(job, r, l, MAP_QKV, tile, 0, job->rows, r->qkv + tile * TILE, stride);
        }
    }
    settle(w, c.count);
}

static void place(Walker *w, const Job *job, Room *r, int64_t layer) {
    const Model *m = job->model;
    const Layer *l = m->layers + layer;
    int64_t heads = m->heads + 2 * m->groups;
    if (l->query_norm && m->whole_norm) {
        EACH_CHUNK(w, row, job->rows)
            norm_whole(job, r, l, row);
        settle(w, job->rows);
    }
    Chunks c = chunks(job->rows * heads, w->team->threads);
    EACH_CHUNK(w, n, c.count)
        for (int64_t i = n * c.per; i < (n + 1) * c.per && i < job->rows * heads; i++)
            place_head(job, r, layer, i / heads, i % heads);
    settle(w, c.count);
}

static void attention(Walker *w, const Job *job, Room *r, int64_t layer) {
    const Model *m = job->model;
    int64_t count = *r->unit_count;
    EACH_CHUNK(w, n, count)
        attend(job, r, layer, r->units + n);
    settle(w, count);
    if (m->head_dim % GROUP == 0)
        return;
    int64_t size = m->heads * m->head_dim;
    EACH_CHUNK(w, row, job->rows)
        quantise(r->mixed + row * size, r->attended, row, 0, size / GROUP);
    settle(w, job->rows);
}

/* Ends an addition of which the parts were kept, where a norm comes before it. */
static void add_kept(Walker *w, const Job *job, Room *r, Norm after) {
    if (!after.weight)
        return;
    EACH_CHUNK(w, row, job->rows)
        add_normed(job, r, after, row);
    settle(w, job->rows);
}

/* Adds what the layer's `map`, MAP_OUTPUT or MAP_DOWN, makes of x. */
static void add(Walker *w, const Job *job, Room *r, const Layer *l, int map, Activations x, Norm after) {
    int keep = after.weight != 0;
    int64_t tiles = (map == MAP_OUTPUT ? &l->output : &l->down)->tiles;
    Input input = {x, 1};
    narrow(w, job, r, l, map, after, &input);
    Chunks c = chunks(tiles, w->team->threads);
    EACH_CHUNK(w, n, c.count)
        for (int64_t tile = n * c.per; tile < (n + 1) * c.per && tile < tiles; tile++)
            add_tile(job, r, l, map, x, tile, keep);
    settle(w, c.count);
    add_kept(w, job, r, after);
}

static void widen(Walker *w, const Job *job, Room *r, const Layer *l) {
    Input input;
    prepare_rows(w, job, r, l->mlp_before, &input);
    narrow(w, job, r, l, MAP_UP, l->mlp_before, &input);
    int64_t groups = job->model->inner / GROUP;
    Chunks c = chunks(groups, w->team->threads);
    EACH_CHUNK(w, n, c.count) {
        prepare_here(job, r, l->mlp_before, &input);
        for (int64_t g = n * c.per; g < (n + 1) * c.per && g < groups; g++)
            inner_group(job, r, &l->up, l, input.x, g);
    }
    settle(w, c.count);
}

static void finish(Walker *w, const Job *job, Room *r) {
    const Model *m = job->model;
    EACH_CHUNK(w, n, job->wanted_count)
        prepare(m, m->final, r->x + job->wanted[n] * m->channels, r->row, r->last, n);
    settle(w, job->wanted_count);
    Chunks c = chunks(m->head.tiles, w->team->threads);
    EACH_CHUNK(w, n, c.count)
        for (int64_t tile = n * c.per; tile < (n + 1) * c.per && tile < m->head.tiles; tile++)
            logits(job, r, r->last, tile);
    settle(w, c.count);
}

#include "mixture.h"

/* The bytes of scratch that a step takes. */
int64_t ROOM(const Job *job, int32_t threads) {
    return room_of(job, threads, 0).bytes;
}

/* Goes through a step as one of its threads. */
void WALK(Team *team, int32_t thread) {
    const Job *job = &team->job;
    Room room = room_of(job, team->threads, thread), *r = &room;
    Walker walker = {team, team->phases}, *w = &walker;
    begin(w, job, r);
    for (int64_t n = 0; n < job->model->layer_count; n++) {
        const Layer *l = job->model->layers + n;
        project(w, job, r, l);
        place(w, job, r, n);
        attention(w, job, r, n);
        add(w, job, r, l, MAP_OUTPUT, r->attended, l->after);
        if (job->model->experts) {
            mix_experts(w, job, r, l);
            continue;
        }
        widen(w, job, r, l);
        add(w, job, r, l, MAP_DOWN, r->inner, l->mlp_after);
    }
    if (job->wanted_count)
        finish(w, job, r);
}

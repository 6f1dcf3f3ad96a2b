/* Mixtures of experts: each row goes through the few MLPs, of many, that its router gives most weight. Part of `step.c`.

   Rows that want the same expert stand together, so that its tiles are read once for all of them. A slot is a row and
   one of its experts; slots go by experts, and by rows within one. Experts come in their order, and so does the sum of
   what they give to a row: which other rows want them changes nothing.

   Every thread sorts the slots for itself, which takes less time than to wait for another that would; but only with a
   chunk in hand, without which nobody goes on: to a thread that comes late, what was chosen may be a later layer's. Nor
   may the number of a phase's chunks depend on it. */

#ifndef AWSLLM_MIXTURE_H
#define AWSLLM_MIXTURE_H

enum { TOGETHER = 4 }; /* experts whose logits are computed at once */

/* The logits of some experts for a row; `count` is a constant. */
INLINE void route_some(const float *router, const float *x, const int count, int64_t channels, float *out) {
    Vector even[TOGETHER], odd[TOGETHER];
#pragma GCC unroll 4
    for (int n = 0; n < count; n++)
        even[n] = odd[n] = splat(0.0f);
    for (int64_t i = 0; i < channels; i += 32)
#pragma GCC unroll 4
        for (int n = 0; n < count; n++) {
            even[n] = multiply_add(load(x + i), load(router + n * channels + i), even[n]);
            odd[n] = multiply_add(load(x + i + 16), load(router + n * channels + i + 16), odd[n]);
        }
#pragma GCC unroll 4
    for (int n = 0; n < count; n++)
        out[n] = sum(even[n] + odd[n]);
}

/* The logits of all rows for the experts 4 n to 4 n + 3. */
static void route(const Job *job, Room *r, const Layer *l, int64_t n) {
    const Model *m = job->model;
    int64_t c = m->channels, first = n * TOGETHER, left = m->experts - first;
    const float *router = l->router + first * c;
    for (int64_t row = 0; row < job->rows; row++) {
        const float *x = r->y + row * c;
        float *out = r->routes.logits + row * padded(m->experts) + first;
        if (left >= TOGETHER)
            route_some(router, x, TOGETHER, c, out);
        for (int64_t i = 0; left < TOGETHER && i < left; i++)
            route_some(router + i * c, x, 1, c, out + i);
        for (int64_t i = 0; l->router_bias && i < TOGETHER && i < left; i++)
            out[i] += l->router_bias[first + i];
    }
}

/* A number for every float, in their order; one for what is no number, too. */
INLINE int32_t order_of(float x) {
    int32_t bits;
    memcpy(&bits, &x, 4);
    return bits ^ (bits >> 31 & 0x7fffffff);
}

/* The experts with the largest logits, of equal ones the first, in ascending order: each once, whatever the logits. */
static void pick(const float *logits, int64_t experts, int64_t used, int32_t *chosen) {
    int32_t last = 0, last_order = 0;
    for (int64_t n = 0; n < used; n++) {
        int32_t best = -1, best_order = 0;
        for (int32_t e = 0; e < experts; e++) {
            int32_t order = order_of(logits[e]);
            if (n && (order > last_order || (order == last_order && e <= last)))
                continue;
            if (best < 0 || order > best_order)
                best = e, best_order = order;
        }
        int64_t at = n;
        for (; at > 0 && chosen[at - 1] > best; at--)
            chosen[at] = chosen[at - 1];
        chosen[at] = last = best;
        last_order = best_order;
    }
}

/* A row's experts, and what each weighs: the softmax over all, or over those used. */
static void choose_experts(const Model *m, Room *r, int64_t row) {
    int64_t all = padded(m->experts);
    float *logits = r->routes.logits + row * all, *share = r->routes.share + row * m->used;
    int32_t *chosen = r->routes.chosen + row * m->used;
    pick(logits, m->experts, m->used, chosen);
    for (int64_t e = m->experts; e < all; e++)
        logits[e] = -INFINITY;
    Vector best = splat(-INFINITY), total = splat(0.0f);
    for (int64_t e = 0; e < all; e += 16)
        best = larger(load(logits + e), best);
    Vector peak = splat(largest(best));
    for (int64_t e = 0; e < all; e += 16) {
        Vector weight = exponential(load(logits + e) - peak);
        total += weight;
        store(logits + e, weight);
    }
    float whole = sum(total), those = 0.0f;
    for (int64_t n = 0; n < m->used; n++)
        those += logits[chosen[n]];
    for (int64_t n = 0; n < m->used; n++)
        share[n] = logits[chosen[n]] / (m->normalised ? those : whole);
}

static void sort_slots(const Job *job, Routes *r) {
    const Model *m = job->model;
    if (r->sorted)
        return;
    r->sorted = 1;
    int64_t count = job->rows * m->used;
    int32_t start = 0, block = 0;
    memset(r->ends, 0, (size_t)m->experts * 4);
    for (int64_t slot = 0; slot < count; slot++)
        r->ends[r->chosen[slot]]++;
    r->active_count = 0;
    for (int32_t e = 0; e < m->experts; e++) {
        int32_t those = r->ends[e];
        if (those)
            r->active[r->active_count++] = e;
        r->ends[e] = start; /* until they are filled in */
        r->blocks[e] = block;
        start += those;
        block += (those + BLOCK - 1) / BLOCK;
    }
    for (int32_t slot = 0; slot < count; slot++)
        r->slots[r->ends[r->chosen[slot]]++] = slot;
}

INLINE int64_t start_of(const Routes *r, int64_t expert) {
    return expert ? r->ends[expert - 1] : 0;
}

/* The rows of some slots, side by side. */
static Activations gather(const Model *m, Room *r, int64_t start, int64_t count) {
    const int32_t *slots = r->routes.slots + start;
    int64_t first = slots[0] / m->used;
    if (first % BLOCK == 0 && slots[count - 1] / m->used - first == count - 1)
        return rows_from(r->in, first);
    Activations to = r->routes.gathered;
    for (int64_t i = 0; i < count; i++)
        for (int64_t g = 0, row = slots[i] / m->used; g < to.groups; g++) {
            const float *scale = scale_at(r->in, row, g);
            memcpy(values_at(to, i, g), values_at(r->in, row, g), GROUP);
            scale_at(to, i, g)[0] = scale[0];
            scale_at(to, i, g)[BLOCK] = scale[BLOCK];
        }
    return to;
}

/* What is within an expert, for its rows. */
INLINE Activations inner_of(const Room *r, int64_t expert) {
    return rows_from(r->inner, (int64_t)r->routes.blocks[expert] * BLOCK);
}

/* Some groups of what is within an expert, for its rows, as if they were all the rows of a step. */
static void widen_expert(const Job *job, Room *r, const Layer *l, int64_t expert, int64_t from, int64_t to) {
    const Model *m = job->model;
    int64_t start = start_of(&r->routes, expert);
    Job part = *job;
    Room here = *r;
    part.rows = r->routes.ends[expert] - start;
    part.narrow = 0; /* adapters have nothing beside experts */
    here.inner = inner_of(r, expert);
    Activations x = gather(m, r, start, part.rows);
    for (int64_t g = from; g < to; g++)
        inner_group(&part, &here, l->expert_up + expert, l, x, g);
}

/* A tile of the sum of all experts, for all rows. */
static void sum_experts(const Job *job, Room *r, const Layer *l, int64_t tile, int keep) {
    const Model *m = job->model;
    const Routes *routes = &r->routes;
    float *out = r->part, *total = r->part + job->rows * TILE;
    memset(total, 0, (size_t)job->rows * TILE * 4);
    for (int64_t n = 0; n < routes->active_count; n++) {
        int64_t expert = routes->active[n], start = start_of(routes, expert), count = routes->ends[expert] - start;
        multiply_tile(l->expert_down + expert, tile, inner_of(r, expert), count, out, TILE);
        for (int64_t i = 0; i < count; i++) {
            int32_t slot = routes->slots[start + i];
            float *at = total + slot / m->used * TILE;
            store(at, multiply_add(load(out + i * TILE), splat(routes->share[slot]), load(at)));
        }
    }
    add_part(job, r, total, tile, keep);
}

static void find_routes(Walker *w, const Job *job, Room *r, const Layer *l) {
    const Model *m = job->model;
    EACH_CHUNK(w, row, job->rows) {
        float *y = r->y + row * m->channels;
        const float *v = normed(m, l->mlp_before, r->x + row * m->channels, y);
        if (v != y)
            memcpy(y, v, (size_t)m->channels * 4);
        quantise(y, r->in, row, 0, r->in.groups);
    }
    settle(w, job->rows);
    int64_t parts = (m->experts + TOGETHER - 1) / TOGETHER;
    EACH_CHUNK(w, n, parts)
        route(job, r, l, n);
    settle(w, parts);
    EACH_CHUNK(w, row, job->rows)
        choose_experts(m, r, row);
    settle(w, job->rows);
    r->routes.sorted = 0;
}

/* The n-th of so many parts of what is within all experts that any row wants. */
static void widen_part(const Job *job, Room *r, const Layer *l, int64_t n, int64_t parts) {
    int64_t groups = job->model->inner / GROUP, all = r->routes.active_count * groups, end = all * (n + 1) / parts;
    for (int64_t at = all * n / parts; at < end;) {
        int64_t from = at % groups, to = from + end - at < groups ? from + end - at : groups;
        widen_expert(job, r, l, r->routes.active[at / groups], from, to);
        at += to - from;
    }
}

/* Adds what the experts give to the residual stream. */
static void mix_experts(Walker *w, const Job *job, Room *r, const Layer *l) {
    const Model *m = job->model;
    find_routes(w, job, r, l);
    int64_t slots = job->rows * m->used, most = (slots < m->experts ? slots : m->experts) * (m->inner / GROUP);
    int64_t parts = most < 6 * w->team->threads ? most : 6 * w->team->threads, tiles = m->channels / TILE;
    EACH_CHUNK(w, n, parts) {
        sort_slots(job, &r->routes);
        widen_part(job, r, l, n, parts);
    }
    settle(w, parts);
    Chunks c = chunks(tiles, w->team->threads);
    EACH_CHUNK(w, n, c.count) {
        sort_slots(job, &r->routes);
        for (int64_t tile = n * c.per; tile < (n + 1) * c.per && tile < tiles; tile++)
            sum_experts(job, r, l, tile, l->mlp_after.weight != 0);
    }
    settle(w, c.count);
    add_kept(w, job, r, l->mlp_after);
}

#endif

/* Adapters: what rows of a sequence that has one get beside a map. Others' rows pay nothing, and no row's sums depend on
   which others there are.

   What goes in is what goes into the map itself: 8-bit values and their scales. */

enum { PIECE = 8 }; /* narrow values of a row that are computed at once */

/* What stands beside the map in the row's adapter; null: nothing. */
static const Narrow *narrow_of(const Job *job, const Layer *l, int map, int64_t row) {
    const Narrow *first = job->caches[job->owners[row]].adapter;
    if (!first)
        return 0;
    const Narrow *own = first + (l - job->model->layers) * MAPS + map;
    return own->rank ? own : 0;
}

/* Some of a row's narrow values; `from` and `to` are multiples of four. */
static void narrow_row(const Job *job, Room *r, const Narrow *own, Activations x, int64_t row, int64_t from, int64_t to) {
    int64_t size = x.groups * GROUP;
    for (int64_t g = 0; g < x.groups; g++) {
        const int8_t *values = values_at(x, row, g);
        float scale = *scale_at(x, row, g);
        for (int i = 0; i < GROUP; i++)
            r->row[g * GROUP + i] = scale * (float)values[i];
    }
    for (int64_t n = from; n < to; n += 4) {
        Vector total[4] = {splat(0.0f), splat(0.0f), splat(0.0f), splat(0.0f)};
        const uint16_t *in = own->in + n * size;
        for (int64_t i = 0; i < size; i += 16) {
            Vector v = load(r->row + i);
#pragma GCC unroll 4
            for (int k = 0; k < 4; k++)
                total[k] = multiply_add(load_half(in + k * size + i), v, total[k]);
        }
        for (int k = 0; k < 4; k++)
            r->narrow[row * job->narrow + n + k] = sum(total[k]) * own->scale[n + k];
    }
}

/* Never inlined: the code of those who have no adapter is to stay what it is. */
static __attribute__((noinline)) void add_adapters(const Job *job, const Room *r, const Layer *l, int map, int64_t tile,
                                                   int64_t first, int64_t count, float *out, int64_t stride) {
    for (int64_t row = first; row < first + count; row++, out += stride) {
        const Narrow *own = narrow_of(job, l, map, row);
        for (int64_t n = 0; own && n < own->part_count; n++) {
            const NarrowPart *part = own->parts + n;
            if (tile < part->tile || tile >= part->tile + part->tiles)
                continue;
            const float *values = r->narrow + row * job->narrow + part->begin;
            const uint16_t *at = part->out + (tile - part->tile) * part->rank * TILE;
            Vector v = load(out);
            for (int64_t k = 0; k < part->rank; k++)
                v = multiply_add(splat(values[k]), load_half(at + k * TILE), v);
            store(out, v);
        }
    }
}

/* Adds to a tile of rows from `first` on, which lie every `stride` floats, what their adapters have beside the map. */
INLINE void add_beside(const Job *job, const Room *r, const Layer *l, int map, int64_t tile, int64_t first,
                       int64_t count, float *out, int64_t stride) {
    if (job->narrow)
        add_adapters(job, r, l, map, tile, first, count, out, stride);
}

// The character GPT of examples/gpt.py in plain C: one block, 16 wide, 4 heads, float32, Adam, batches of documents.
//
// The model is as wide as a vector: lanes are the 16 numbers of a position, and rows are the positions of a batch's
// documents, one document behind the other. So none is filled up to another's length, and every linear layer and its
// gradients are products of dense.h's kind. In attention a head is four neighbouring lanes, and as many heads are computed
// together as the machine's vectors have room for.
//
// Parameters: token[27][16] position[16][16] query key value mix [16][16] widen[64][16] narrow[16][64] head[27][16],
// weights as [out][in]; tokens[n][17], of which a document of length n has the first n + 1.

typedef float real;
#include "dense.h"
#include <math.h>

enum { D = 16, F = 64, C = 27, CP = 32, LONGEST = 16, ROWS = 256, KEYS = 4 };  // a batch has up to ROWS tokens
enum {
    TOKEN = 0,
    POSITION = TOKEN + C * D,
    QKV = POSITION + LONGEST * D,  // query, key and value are one matrix of 48 rows
    MIX = QKV + 3 * D * D,
    WIDEN = MIX + D * D,
    NARROW = WIDEN + F * D,
    HEAD = NARROW + D * F,
    P = HEAD + C * D
};

static vec e[ROWS], x[ROWS], mixed[ROWS], e2[ROWS], y[ROWS], hidden[ROWS][F / D], e3[ROWS], logits[ROWS][CP / D];
static vec d_e3[ROWS], d_hidden[ROWS][F / D], d_e2[ROWS], d_row[ROWS];
static vec qkv[ROWS + KEYS][3], d_qkv[ROWS + KEYS][3];  // keys are taken by fours, the last ones beyond the last row
static vec attention[ROWS][LONGEST / KEYS];             // lane 4h + j of vector i: head h's weight of key 4i + j
static float scale_e[ROWS], scale_x[ROWS], scale_y[ROWS], total[ROWS], chosen[ROWS], share[ROWS];
static int token_of[ROWS], place_of[ROWS], target_of[ROWS];

// e^-30 is nothing beside 1. Much smaller numbers have gradients below 1e-38, for which Intel's processors take a hundred
// cycles each; below e^-87 the vector expf would turn to one lane after the other, too.
#define LEAST -30.0f
#define NEVER -1e30f

// Part p of a row.
#define OF(row, p) (((part *)&(row))[p])

// A part of which each four lanes are picked from the same four lanes of a (0 … 3) and b (4 … 7).
#define AT(i, q) ((i) < 4 ? (i) + 4 * (q) : (i) - 4 + PART_LANES + 4 * (q))
#define FOUR(q, i, j, k, l) AT(i, q), AT(j, q), AT(k, q), AT(l, q)
#if PART == 64
#define ALL(...) FOUR(0, __VA_ARGS__), FOUR(1, __VA_ARGS__), FOUR(2, __VA_ARGS__), FOUR(3, __VA_ARGS__)
#define HIDE(...) {__VA_ARGS__, __VA_ARGS__, __VA_ARGS__, __VA_ARGS__}
#elif PART == 32
#define ALL(...) FOUR(0, __VA_ARGS__), FOUR(1, __VA_ARGS__)
#define HIDE(...) {__VA_ARGS__, __VA_ARGS__}
#else
#define ALL(...) FOUR(0, __VA_ARGS__)
#define HIDE(...) {__VA_ARGS__}
#endif
#define PICK(a, b, ...) __builtin_shufflevector(a, b, ALL(__VA_ARGS__))
#define EACH(a, j) PICK(a, a, j, j, j, j)

INLINE part larger(part a, part b) {
    for (int i = 0; i < PART_LANES; i++) a[i] = a[i] > b[i] ? a[i] : b[i];
    return a;
}

// Of each four lanes, the largest or the sum in all four.
INLINE part largest_of_four(part a) {
    a = larger(a, PICK(a, a, 1, 0, 3, 2));
    return larger(a, PICK(a, a, 2, 3, 0, 1));
}

INLINE part sum_of_four(part a) {
    a += PICK(a, a, 1, 0, 3, 2);
    return a + PICK(a, a, 2, 3, 0, 1);
}

// For four rows of qkv, in one of its three columns: lane 4h + j is the dot product of head h's parts of a and row j.
INLINE part dots(part a, vec (*rows)[3], const int column, const int part_of) {
    const part p = a * OF(rows[0][column], part_of), q = a * OF(rows[1][column], part_of);
    const part r = a * OF(rows[2][column], part_of), s = a * OF(rows[3][column], part_of);
    const part pq = PICK(p, q, 0, 4, 1, 5) + PICK(p, q, 2, 6, 3, 7);
    const part rs = PICK(r, s, 0, 4, 1, 5) + PICK(r, s, 2, 6, 3, 7);
    return PICK(pq, rs, 0, 1, 4, 5) + PICK(pq, rs, 2, 3, 6, 7);
}

// The sum of four rows, head h's part of row j times lane 4h + j of a.
INLINE part weighted(part a, vec (*rows)[3], const int column, const int p) {
    return EACH(a, 0) * OF(rows[0][column], p) + EACH(a, 1) * OF(rows[1][column], p) +
           (EACH(a, 2) * OF(rows[2][column], p) + EACH(a, 3) * OF(rows[3][column], p));
}

INLINE float sum(part a) {
    float s = 0;
    for (int i = 0; i < PART_LANES; i++) s += a[i];
    return s;
}

// The mean product of two rows' numbers.
INLINE float mean_product(vec *a, vec *b) {
    part s = {0};
    for (int p = 0; p < PARTS; p++) s += OF(*a, p) * OF(*b, p);
    return sum(s) * (1.0f / D);
}

INLINE void normalise(vec *a, vec *to, float *scale) {
    *scale = 1 / sqrtf(mean_product(a, a) + 1e-5f);
    for (int p = 0; p < PARTS; p++) OF(*to, p) = OF(*a, p) * *scale;
}

// The gradient of what `normalise` was given, from that of its result.
INLINE void normalise_back(vec *d, vec *result, float scale, vec *to) {
    const float mean = mean_product(d, result);
    for (int p = 0; p < PARTS; p++) OF(*to, p) = (OF(*d, p) - OF(*result, p) * mean) * scale;
}

INLINE void add(vec *to, vec *a) {
    for (int p = 0; p < PARTS; p++) OF(*to, p) += OF(*a, p);
}

static const part LATER[KEYS] = {HIDE(0, NEVER, NEVER, NEVER), HIDE(0, 0, NEVER, NEVER), HIDE(0, 0, 0, NEVER),
                                 HIDE(0, 0, 0, 0)};

// Attention's weights before the exponential, for a document of n positions whose rows begin at `first`.
static void score(int first, int n, const int p) {
    vec(*rows)[3] = qkv + first;
    const part least = LEAST - (part){0};
    for (int t = 0; t < n; t++) {
        vec *a = attention[first + t];
        part most;
        const part query = OF(rows[t][0], p) * 0.5f;  // 1/√4
        const int last = t / KEYS;
        for (int i = 0; i <= last; i++) {
            part found = dots(query, rows + i * KEYS, 1, p);
            if (i == last) found += LATER[t % KEYS];
            OF(a[i], p) = found;
            most = i ? larger(most, found) : found;
        }
        most = largest_of_four(most);
        for (int i = 0; i <= last; i++) OF(a[i], p) = larger(OF(a[i], p) - most, least);
    }
}

// What attention finds, and its weights, whose sums are 1 then.
static void find(int first, int n, const int p) {
    vec(*rows)[3] = qkv + first;
    for (int t = 0; t < n; t++) {
        vec *a = attention[first + t];
        part all = {0}, found = {0};
        const int last = t / KEYS;
        for (int i = 0; i <= last; i++) {
            all += OF(a[i], p);
            found += weighted(OF(a[i], p), rows + i * KEYS, 2, p);
        }
        const part share_of = 1 / sum_of_four(all);
        for (int i = 0; i <= last; i++) OF(a[i], p) *= share_of;
        OF(mixed[first + t], p) = found * share_of;
    }
}

// For a document: attention, and what it finds.
static void attend(int first, int n) {
    for (int p = 0; p < PARTS; p++) score(first, n, p);
    for (int t = 0; t < n; t++) {
        float *a = (float *)attention[first + t];
        for (int i = 0; i < (t / KEYS + 1) * D; i++) a[i] = expf(a[i]);
    }
    for (int p = 0; p < PARTS; p++) find(first, n, p);
}

// From the gradient of `mixed`, in d_row, that of qkv. The last four keys may reach into the next document, whose turn
// comes later and overwrites what is left there.
static void attend_back(int first, int n, const int p) {
    part d[LONGEST][LONGEST / KEYS];
    vec(*rows)[3] = qkv + first;
    for (int t = 0; t < n; t++) {
        vec *a = attention[first + t];
        const part d_found = OF(d_row[first + t], p);
        part mean = {0}, d_query = {0};
        const int last = t / KEYS;
        for (int i = 0; i <= last; i++) {
            d[t][i] = dots(d_found, rows + i * KEYS, 2, p);
            mean += OF(a[i], p) * d[t][i];
        }
        mean = sum_of_four(mean);
        for (int i = 0; i <= last; i++) {
            d[t][i] = OF(a[i], p) * (d[t][i] - mean) * 0.5f;
            d_query += weighted(d[t][i], rows + i * KEYS, 1, p);
        }
        OF(d_qkv[first + t][0], p) = d_query;
    }
    for (int k = 0; k < n; k += KEYS) {
        part d_key[KEYS] = {{0}}, d_value[KEYS] = {{0}};
        for (int t = k; t < n; t++) {
            const part s = d[t][k / KEYS], a = OF(attention[first + t][k / KEYS], p);
            const part query = OF(rows[t][0], p), d_found = OF(d_row[first + t], p);
            d_key[0] += EACH(s, 0) * query;
            d_key[1] += EACH(s, 1) * query;
            d_key[2] += EACH(s, 2) * query;
            d_key[3] += EACH(s, 3) * query;
            d_value[0] += EACH(a, 0) * d_found;
            d_value[1] += EACH(a, 1) * d_found;
            d_value[2] += EACH(a, 2) * d_found;
            d_value[3] += EACH(a, 3) * d_found;
        }
        for (int j = 0; j < KEYS; j++) {
            OF(d_qkv[first + k + j][1], p) = d_key[j];
            OF(d_qkv[first + k + j][2], p) = d_value[j];
        }
    }
}

INLINE void transpose(const float *a, float *t, const int rows, const int columns, const int stride) {
    for (int j = 0; j < columns; j++)
        for (int i = 0; i < rows; i++) t[j * stride + i] = a[i * columns + j];
}

// to[m][N] = from·matrix[K][N]; the matrix is a transposed weight on the way forward, and the weight on the way back.
INLINE void times(const int TILE, const int VECTORS, int m, const int N, const int K, const void *from,
                  const int stride, const float *matrix, void *to, const float *bias) {
    product(TILE, VECTORS, m, N, K, K, from, stride, 1, matrix, to, bias);
}

// The gradient of a weight [M][N], from those of what came of n rows and the rows themselves.
INLINE void weight(const int TILE, const int VECTORS, const int M, const int N, int n, const void *d, const int stride,
                   const void *rows, float *g) {
    product(TILE, VECTORS, M, N, n, n, d, 1, stride, rows, g, 0);
}

// The sum of the mean losses of the documents that `documents` names, times `weight`, and its gradient.
float gradient(const float *restrict p, const int *restrict tokens, const int *restrict lengths,
               const int *restrict documents, int count, float each, float *restrict g) {
    static float qkv_t[D * 3 * D], mix_t[D * D], widen_t[D * F], narrow_t[F * D], head_t[D * CP];
    static const float no_token[CP] = {[C] = NEVER, NEVER, NEVER, NEVER, NEVER};
    int n = 0;
    for (int b = 0; b < count; b++) {
        const int *its = tokens + documents[b] * (LONGEST + 1), length = lengths[documents[b]];
        for (int t = 0; t < length; t++, n++) {
            token_of[n] = its[t];
            target_of[n] = its[t + 1];
            place_of[n] = t;
            share[n] = each / length;
        }
    }
    const int m = (n + 15) / 16 * 16;  // whole tiles; nothing that counts comes from the rows from n on
    transpose(p + QKV, qkv_t, 3 * D, D, 3 * D);
    transpose(p + MIX, mix_t, D, D, D);
    transpose(p + WIDEN, widen_t, F, D, F);
    transpose(p + NARROW, narrow_t, D, F, D);
    transpose(p + HEAD, head_t, C, D, CP);

    for (int i = 0; i < n; i++) {
        vec row = *(vec *)(p + TOKEN + token_of[i] * D);
        add(&row, (vec *)(p + POSITION + place_of[i] * D));
        normalise(&row, &e[i], scale_e + i);
        normalise(&e[i], &x[i], scale_x + i);
    }
    times(8, 3, m, 3 * D, D, x, D, qkv_t, qkv, 0);
    for (int b = 0, first = 0; b < count; first += lengths[documents[b++]]) attend(first, lengths[documents[b]]);
    times(16, 1, m, D, D, mixed, D, mix_t, e2, 0);
    for (int i = 0; i < n; i++) {
        add(&e2[i], &e[i]);
        normalise(&e2[i], &y[i], scale_y + i);
    }
    times(8, 2, m, F, D, y, D, widen_t, hidden, 0);
    for (int i = 0; i < n; i++)
        for (int j = 0; j < F / PART_LANES; j++) OF(hidden[i], j) = larger(OF(hidden[i], j), (part){0});
    times(16, 1, m, D, F, hidden, F, narrow_t, e3, 0);
    for (int i = 0; i < n; i++) add(&e3[i], &e2[i]);
    times(8, 2, m, CP, D, e3, D, head_t, logits, no_token);

    // Logits become their own gradient.
    for (int i = 0; i < n; i++) {
        float *z = (float *)logits[i], largest = z[0], all = 0;
        for (int c = 1; c < CP; c++) largest = z[c] > largest ? z[c] : largest;
        chosen[i] = z[target_of[i]] - largest;
        for (int c = 0; c < CP; c++) {
            const float below = z[c] - largest;
            all += z[c] = expf(below > LEAST ? below : LEAST);
        }
        const float part = share[i] / all;
        for (int c = 0; c < CP; c++) z[c] *= part;
        z[target_of[i]] -= share[i];
        total[i] = all;
    }
    float loss = 0;
    for (int i = 0; i < n; i++) loss += share[i] * (logf(total[i]) - chosen[i]);

    const float *d_logits = (float *)logits;
    tile(16, 1, n, d_logits, 1, CP, (float *)e3, D, g + HEAD, D, 0, 0);
    tile(C - 16, 1, n, d_logits + 16, 1, CP, (float *)e3, D, g + HEAD + 16 * D, D, 0, 0);
    times(16, 1, m, D, C, logits, CP, p + HEAD, d_e3, 0);
    weight(8, 2, D, F, n, d_e3, D, hidden, g + NARROW);
    times(8, 2, m, F, D, d_e3, D, p + NARROW, d_hidden, 0);
    for (int i = 0; i < n; i++)
        for (int j = 0; j < F; j++) ((float *)d_hidden[i])[j] = ((float *)hidden[i])[j] > 0 ? ((float *)d_hidden[i])[j] : 0;
    weight(16, 1, F, D, n, d_hidden, F, y, g + WIDEN);
    times(16, 1, m, D, F, d_hidden, F, p + WIDEN, d_row, 0);
    for (int i = 0; i < n; i++) {
        normalise_back(&d_row[i], &y[i], scale_y[i], &d_e2[i]);
        add(&d_e2[i], &d_e3[i]);
    }
    weight(16, 1, D, D, n, d_e2, D, mixed, g + MIX);
    times(16, 1, m, D, D, d_e2, D, p + MIX, d_row, 0);
    for (int b = 0, first = 0; b < count; first += lengths[documents[b++]])
        for (int p = 0; p < PARTS; p++) attend_back(first, lengths[documents[b]], p);
    weight(16, 1, 3 * D, D, n, d_qkv, 3 * D, x, g + QKV);
    times(16, 1, m, D, 3 * D, d_qkv, 3 * D, p + QKV, d_row, 0);
    memset(g, 0, sizeof(float) * QKV);
    for (int i = 0; i < n; i++) {
        vec d;
        normalise_back(&d_row[i], &x[i], scale_x[i], &d);
        add(&d, &d_e2[i]);
        normalise_back(&d, &e[i], scale_e[i], &d);
        add((vec *)(g + TOKEN + token_of[i] * D), &d);
        add((vec *)(g + POSITION + place_of[i] * D), &d);
    }
    return loss;
}

INLINE void adam(float *restrict p, float *restrict m, float *restrict v, const float *restrict g, int n, float rate,
                 float scale) {
    for (int i = 0; i < n; i++) {
        m[i] = 0.9f * m[i] + 0.1f * g[i];
        v[i] = 0.99f * v[i] + 0.01f * g[i] * g[i];
        p[i] -= rate * (m[i] / (sqrtf(v[i]) * scale + 1e-8f));
    }
}

// Adam (rate, 0.9, 0.99, 1e-8) in steps on documents, of which step k has those up to ends[k], with the weight each[k],
// after `done` steps; m and v are its state. The numbers of the positions from `positions` on rest.
void train(float *restrict p, float *restrict m, float *restrict v, const int *restrict tokens,
           const int *restrict lengths, const int *restrict documents, const int *restrict ends,
           const float *restrict each, int steps, int positions, int done, float rate, float *restrict losses) {
    static float g[P];
    for (int k = 0, begin = 0; k < steps; begin = ends[k++]) {
        losses[k] = gradient(p, tokens, lengths, documents + begin, ends[k] - begin, each[k], g);
        const double t = done + k + 1;
        const float now = (float)(rate / (1 - pow(0.9, t))), scale = (float)(1 / sqrt(1 - pow(0.99, t)));
        adam(p, m, v, g, POSITION + positions * D, now, scale);
        adam(p + QKV, m + QKV, v + QKV, g + QKV, P - QKV, now, scale);
    }
}

// Rolls action sequences through an ensemble of networks: one source, compiled for several
// instruction sets (see the .cpp files beside it, and __init__.py, which lays the data out).
//
// Samples are lanes. A block of up to MOST vectors of them goes all the way through the horizon,
// particle by particle, so that its states, inputs and neurons stay in the cache: there is no pass over
// all samples between two operations. Everything but the products and activations of a bf16 build is
// fp32.
#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <vector>

#if defined(USE_AMX)
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include "layer.h"

#if defined(__x86_64__)
#include <x86intrin.h>
static inline int64_t cycles() { return (int64_t)__rdtsc(); }
#else
static inline int64_t cycles() { return 0; }
#endif

namespace {

enum TermKind { COS, SIN, LINEAR, ABS, SQUARE, BEYOND, DISTANCE };
enum Coupling { NONE, MEAN, REDRAWN };
enum Phase { INPUTS, HIDDEN, OUTPUT, UPDATE, REWARD, PHASES };

constexpr int MOST_FIELDS = 6;  // of one term
struct Part {  // value - target
    int32_t column, is_angle;
    float target;
};
struct Term {  // weight * term(value - target, limit)
    int32_t kind, of_action, count;
    float weight, limit;
    Part parts[MOST_FIELDS];
};
struct Range {  // the episode ends outside
    int32_t column, is_angle;
    float low, high;
};
struct Barrier {  // weight * max(0, (limit - value) scale + 1)^2 is the cost
    int32_t column, is_angle;
    float limit, scale, weight, reserved;
};

struct Model {
    const Layer *layers;
    const float *input_mean, *input_scale;  // of features and actions of each period looked at
    const int32_t *linear, *angles, *quaternions, *plain;  // state columns
    const float *upper, *lower;  // bounds of the log-variance, of the targets as the network sees them
    const float *delta_std;
    int32_t layer_count, activation, state_dim, action_dim, history;
    int32_t linear_count, angle_count, quaternion_count, plain_count, delta_dim;
    int32_t widest;  // cells of the widest input or output of a layer
    int32_t reserved;

    int feature_dim() const { return linear_count + 2 * angle_count + 6 * quaternion_count; }
    int seen_dim() const { return feature_dim() + action_dim; }  // of one period, before it is normalised
};

struct Task {
    const Term *terms;
    const Range *ranges;
    const Barrier *barriers;
    int32_t term_count, range_count, barrier_count, ends;  // ends: there is a termination
};

struct Plan {
    const float *start;      // model state, [x]
    const float *actions;    // [H][m][N]
    const int32_t *members;  // which one moves a particle at a step, [H][P]
    const float *noise;      // of the model, [H][P][d], or null
    const float *redraw;     // of moment matching, [H][P][n], or null
    const Task *task;        // or null: no returns
    float *returns;          // [P][N]
    float *states;           // [H + 1][n][P][N], or null
    int64_t *profile;        // processor cycles a phase, or null
    int32_t samples, horizon, particles, coupling, threads, reserved;
};

// What one thread needs for a block.
struct Scratch {
    float *state, *history, *total, *lives, *actions;
    uint32_t *cells[2];
};

struct Floats {  // on a cache line, kept by its thread
    float *data = nullptr;
    size_t size = 0;
    float *at_least(size_t wanted) {
        if (wanted > size) {
            free(data);
            data = (float *)aligned_alloc(64, (wanted * 4 + 63) / 64 * 64);
            memset(data, 0, wanted * 4);
            size = wanted;
        }
        return data;
    }
    ~Floats() { free(data); }
};

template <int R>
struct Block {
    static constexpr int B = R * L;
    const Model &model;
    const Plan &plan;
    Scratch s;
    int first;     // of the samples
    int count;     // at most B
    int base = 0;  // the particle whose place in `s` is the first
    int64_t mark = 0;

    void spent(Phase phase) {
        if (!plan.profile) return;
        const int64_t now = cycles();
        if (phase < PHASES) plan.profile[phase] += now - mark;
        mark = now;
    }

    vf *of(float *values, int p) const { return (vf *)(values + (int64_t)(p - base) * B); }

    vf *state(int p, int column) const { return of(s.state, base + (p - base) * model.state_dim + column); }

    // Features of the state, and action, of some step: [features + m][B]; a ring of `history` of them.
    float *seen(int p, int t) const {
        const int slot = (t % model.history + model.history) % model.history;
        return s.history + ((int64_t)(p - base) * model.history + slot) * model.seen_dim() * B;
    }

    void unit_quaternion(const vf *const q[4], int r, vf result[4]) const {
        vf length = q[0][r] * q[0][r] + q[1][r] * q[1][r] + q[2][r] * q[2][r] + q[3][r] * q[3][r];
        length = at_least(root(length), 1e-9f);
        for (int i = 0; i < 4; ++i) result[i] = q[i][r] / length;
    }

    void features(const float *state, float *to) const {  // state [n][B]
        const auto column = [&](int c) { return (const vf *)(state + (int64_t)c * B); };
        vf *out = (vf *)to;
        for (int i = 0; i < model.linear_count; ++i, out += R)
            for (int r = 0; r < R; ++r) out[r] = column(model.linear[i])[r];
        for (int i = 0; i < model.angle_count; ++i, out += R)
            for (int r = 0; r < R; ++r)
                sine_cosine(column(model.angles[i])[r], out[r], out[r + R * model.angle_count]);
        out += R * model.angle_count;
        for (int k = 0; k < model.quaternion_count; ++k, out += 6 * R) {
            const int32_t *c = model.quaternions + 4 * k;
            const vf *const q[4] = {column(c[0]), column(c[1]), column(c[2]), column(c[3])};
            for (int r = 0; r < R; ++r) {
                vf u[4];
                unit_quaternion(q, r, u);
                const vf x = u[0], y = u[1], z = u[2], w = u[3];
                out[r] = 1.0f - 2.0f * (y * y + z * z);
                out[r + R] = 2.0f * (x * y + z * w);
                out[r + 2 * R] = 2.0f * (x * z - y * w);
                out[r + 3 * R] = 2.0f * (x * y - z * w);
                out[r + 4 * R] = 1.0f - 2.0f * (x * x + z * z);
                out[r + 5 * R] = 2.0f * (y * z + x * w);
            }
        }
    }

    // The start of a particle: its state, and what went before.
    void begin(int p) const {
        const int n = model.state_dim, m = model.action_dim;
        const auto fill = [&](float *to, const float *from, int rows) {
            for (int i = 0; i < rows; ++i)
                for (int b = 0; b < B; ++b) to[i * B + b] = from[i];
        };
        float *now = (float *)state(p, 0);
        for (int back = model.history - 1; back >= 1; --back) {
            const float *past = plan.start + n + (back - 1) * (n + m);
            fill(now, past, n);
            features(now, seen(p, -back));
            fill(seen(p, -back) + model.feature_dim() * B, past + n, m);
        }
        fill(now, plan.start, n);
    }

    void load_actions(int t) const {  // [m][B]; nobody looks at lanes beyond the samples
        for (int i = 0; i < model.action_dim; ++i) {
            const float *from = plan.actions + ((int64_t)t * model.action_dim + i) * plan.samples + first;
            memcpy(s.actions + (int64_t)i * B, from, 4 * count);
        }
    }

    void inputs(int p, int t) const {
        const int size = model.seen_dim();
        float *now = seen(p, t);
        features((const float *)state(p, 0), now);
        memcpy(now + model.feature_dim() * B, s.actions, sizeof(float) * model.action_dim * B);
        const float *mean = model.input_mean, *scale = model.input_scale;
        vf *to = (vf *)s.cells[0];
        for (int back = 0; back < model.history; ++back) {
            const vf *from = (const vf *)seen(p, t - back);
            for (int i = 0; i < size; ++i, ++mean, ++scale)
                for (int r = 0; r < R; ++r) *to++ = as_input((*from++ - *mean) * *scale);
        }
        if constexpr (STEP > 1)
            for (int i = size * model.history; i % STEP; ++i)
                for (int r = 0; r < R; ++r) *to++ = vf{};
    }

    template <Activation A>
    const float *network(int member) {
        const int last = model.layer_count - 1;
        for (int k = 0; k < last; ++k) layer<R, A>(model.layers[k], member, s.cells[k & 1], s.cells[~k & 1], false);
        spent(HIDDEN);
        Layer wanted = model.layers[last];  // the log-variance only where it is used
        if (!plan.noise) wanted.neurons = model.delta_dim;
        layer<R, IDENTITY>(wanted, member, s.cells[last & 1], s.cells[~last & 1], true);
        spent(OUTPUT);
        return (const float *)s.cells[~last & 1];
    }

    const float *network(int member) {
        switch (model.activation) {
            case SILU: return network<SILU>(member);
            case RELU: return network<RELU>(member);
            case TANH: return network<TANH>(member);
            case GELU: return network<GELU>(member);
            case LEAKY_RELU: return network<LEAKY_RELU>(member);
            case ELU: return network<ELU>(member);
            default: return network<IDENTITY>(member);
        }
    }

    // Difference i of the state, from what the network gave: mean, and noise if it is wanted.
    vf difference(const float *out, int p, int t, int i, int r) const {
        const vf mean = ((const vf *)out)[i * R + r];
        if (!plan.noise) return mean;
        const float e = plan.noise[((int64_t)t * plan.particles + p) * model.delta_dim + i];
        vf v = ((const vf *)out)[(model.delta_dim + i) * R + r];
        v = model.upper[i] - softplus(model.upper[i] - v);
        v = model.lower[i] + softplus(v - model.lower[i]);
        return mean + exponential(0.5f * v) * (model.delta_std[i] * e);
    }

    void update(const float *out, int p, int t) const {
        for (int i = 0; i < model.plain_count; ++i)
            for (int r = 0; r < R; ++r) state(p, model.plain[i])[r] += difference(out, p, t, i, r);
        for (int k = 0; k < model.quaternion_count; ++k) {
            const int32_t *c = model.quaternions + 4 * k;
            vf *const q[4] = {state(p, c[0]), state(p, c[1]), state(p, c[2]), state(p, c[3])};
            for (int r = 0; r < R; ++r) {
                vf a[4], v[3];
                unit_quaternion(q, r, a);
                for (int i = 0; i < 3; ++i) v[i] = difference(out, p, t, model.plain_count + 3 * k + i, r);
                const vf half = 0.5f * root(v[0] * v[0] + v[1] * v[1] + v[2] * v[2]);
                vf sine, w;
                sine_cosine(half, sine, w);
                const vf scale = half < 1e-4f ? 0.5f - half * half * (1.0f / 12) : 0.5f * sine / half;
                const vf x = v[0] * scale, y = v[1] * scale, z = v[2] * scale;
                q[0][r] = a[3] * x + a[0] * w + a[1] * z - a[2] * y;
                q[1][r] = a[3] * y + a[1] * w + a[2] * x - a[0] * z;
                q[2][r] = a[3] * z + a[2] * w + a[0] * y - a[1] * x;
                q[3][r] = a[3] * w - a[0] * x - a[1] * y - a[2] * z;
            }
        }
    }

    void step(int p, int t) {
        spent(PHASES);
        inputs(p, t);
        spent(INPUTS);
        const float *out = network(plan.members[(int64_t)t * plan.particles + p]);
        update(out, p, t);
        spent(UPDATE);
    }

    // All particles become their mean, or are drawn from their Gaussian anew.
    void couple(int t) const {
        const int particles = plan.particles, n = model.state_dim;
        if (particles == 1) return;
        for (int i = 0; i < n; ++i)
            for (int r = 0; r < R; ++r) {
                vf mean{}, square{};
                for (int p = 0; p < particles; ++p) mean += state(p, i)[r];
                mean *= 1.0f / particles;
                for (int p = 0; p < particles; ++p) {
                    const vf d = state(p, i)[r] - mean;
                    square += d * d;
                }
                const vf std = root(square * (1.0f / (particles - 1)));
                for (int p = 0; p < particles; ++p) {
                    const float *noise = plan.redraw + ((int64_t)t * particles + p) * n + i;
                    state(p, i)[r] = plan.coupling == MEAN ? mean : mean + std * *noise;
                }
            }
    }

    vf of_angle(vf x, bool is_angle) const { return is_angle ? wrapped(x) : x; }

    vf missed(int p, const Term &term, int part, int r) const {  // value - target
        const Part &of = term.parts[part];
        const vf *values = term.of_action ? (const vf *)s.actions + of.column * R : state(p, of.column);
        return of_angle(values[r] - of.target, of.is_angle);
    }

    template <typename Function>
    void add(vf total[R], int p, const Term &term, Function function) const {
        for (int r = 0; r < R; ++r) total[r] += function(missed(p, term, 0, r)) * term.weight;
    }

    void add_distance(vf total[R], int p, const Term &term) const {
        for (int r = 0; r < R; ++r) {
            vf squares{};
            for (int i = 0; i < term.count; ++i) {
                const vf x = missed(p, term, i, r);
                squares += x * x;
            }
            total[r] += root(squares) * term.weight;
        }
    }

    // Adds reward less cost of the state that was reached.
    void add_rewards(int p, vf total[R]) const {
        const Task &task = *plan.task;
        for (int k = 0; k < task.term_count; ++k) {
            const Term &term = task.terms[k];
            const auto cosine = [](vf x) { vf c, unused; sine_cosine(x, unused, c); return c; };
            const auto sine = [](vf x) { vf c, unused; sine_cosine(x, c, unused); return c; };
            const auto beyond = [&](vf x) { return at_least(absolute(x) - term.limit, 0.0f); };
            switch (term.kind) {
                case COS: add(total, p, term, cosine); break;
                case SIN: add(total, p, term, sine); break;
                case ABS: add(total, p, term, absolute); break;
                case SQUARE: add(total, p, term, [](vf x) { return x * x; }); break;
                case BEYOND: add(total, p, term, beyond); break;
                case DISTANCE: add_distance(total, p, term); break;
                default: add(total, p, term, [](vf x) { return x; });
            }
        }
        for (int k = 0; k < task.barrier_count; ++k) {
            const Barrier &it = task.barriers[k];
            for (int r = 0; r < R; ++r) {
                const vf x = of_angle(state(p, it.column)[r], it.is_angle);
                const vf near = at_least((it.limit - x) * it.scale + 1.0f, 0.0f);
                total[r] -= near * near * it.weight;
            }
        }
    }

    void pay(int p) {
        const Task &task = *plan.task;
        vf zero[R]{}, reward[R];  // zero: NaN where anything is not finite
        for (int r = 0; r < R; ++r) {
            for (int i = 0; i < model.state_dim; ++i) zero[r] += state(p, i)[r];
            reward[r] = zero[r] *= 0.0f;
        }
        add_rewards(p, reward);
        for (int r = 0; r < R; ++r) {
            vf &total = of(s.total, p)[r], &lives = of(s.lives, p)[r];
            total = lives > 0.0f ? total + reward[r] : total;
            if (!task.ends) continue;
            vf goes_on = zero[r] == 0.0f ? lives : vf{};
            for (int k = 0; k < task.range_count; ++k) {
                const Range &it = task.ranges[k];
                const vf x = of_angle(state(p, it.column)[r], it.is_angle);
                goes_on = x < it.low ? vf{} : goes_on;
                goes_on = x > it.high ? vf{} : goes_on;
            }
            lives = goes_on;
        }
        spent(REWARD);
    }

    void show(int p, int t) const {  // the states after t steps
        const int64_t rows = (int64_t)(plan.coupling == MEAN ? 1 : plan.particles) * plan.samples;
        for (int i = 0; i < model.state_dim; ++i)
            memcpy(plan.states + ((int64_t)t * model.state_dim + i) * rows + (int64_t)p * plan.samples + first,
                   state(p, i), 4 * count);
    }

    void start(int p) {
        begin(p);
        for (int r = 0; r < R; ++r) of(s.total, p)[r] = vf{}, of(s.lives, p)[r] = splat(1.0f);
        if (plan.states && (p == 0 || plan.coupling != MEAN)) show(p, 0);
    }

    // Particles from `first_particle` on, `particles` of them, side by side through the horizon.
    void run(int first_particle, int particles) {
        base = first_particle;
        const int end = first_particle + particles, shown = plan.coupling == MEAN ? base + 1 : end;
        spent(PHASES);
        for (int p = base; p < end; ++p) start(p);
        for (int t = 0; t < plan.horizon; ++t) {
            load_actions(t);
            for (int p = base; p < end; ++p) step(p, t);
            if (plan.coupling != NONE) couple(t);
            for (int p = base; p < shown; ++p) {
                if (plan.task) pay(p);
                if (plan.states) show(p, t + 1);
            }
        }
        if (plan.task)
            for (int p = base; p < shown; ++p)
                memcpy(plan.returns + (int64_t)p * plan.samples + first, of(s.total, p), 4 * count);
    }
};

struct Job {  // some particles of a block
    int first, vectors, count, particle, particles;
};

void work(const Model &model, const Plan &plan, const std::vector<Job> &jobs, std::atomic<int> &next) {
    const int together = plan.coupling == NONE ? 1 : plan.particles, B = MOST * L;
    const size_t sizes[] = {(size_t)together * model.state_dim * B,
                            (size_t)together * model.history * model.seen_dim() * B,
                            (size_t)together * B,
                            (size_t)together * B,
                            (size_t)model.action_dim * B,
                            (size_t)model.widest * B,
                            (size_t)model.widest * B};
    size_t all = 0;
    for (size_t size : sizes) all += size;
    static thread_local Floats memory;
    float *at = memory.at_least(all);
    Scratch s;
    float **const floats[] = {&s.state, &s.history, &s.total, &s.lives, &s.actions};
    for (int i = 0; i < 5; at += sizes[i++]) *floats[i] = at;
    s.cells[0] = (uint32_t *)at;
    s.cells[1] = s.cells[0] + sizes[5];

    const Tiles tiles;
    for (int i; (i = next.fetch_add(1)) < (int)jobs.size();) {
        const Job &job = jobs[i];
        switch (job.vectors) {
            case 1: Block<1>{model, plan, s, job.first, job.count}.run(job.particle, job.particles); break;
            case 2: Block<2>{model, plan, s, job.first, job.count}.run(job.particle, job.particles); break;
            case 3: Block<(MOST > 2 ? 3 : 1)>{model, plan, s, job.first, job.count}.run(job.particle, job.particles); break;
            default: Block<(MOST > 2 ? 4 : 1)>{model, plan, s, job.first, job.count}.run(job.particle, job.particles);
        }
    }
}

}  // namespace

// Of the structures, in the order Layer, Term, Range, Barrier, Model, Task, Plan: who calls compares.
extern "C" {
extern const int32_t mbrl_sizes[7];
const int32_t mbrl_sizes[7] = {sizeof(Layer), sizeof(Term), sizeof(Range), sizeof(Barrier),
                               sizeof(Model), sizeof(Task), sizeof(Plan)};
}

// 0, or the errno that says why this processor's tiles may not be used.
extern "C" int mbrl_prepare() {
#if defined(USE_AMX)
    constexpr int REQUEST_PERMISSION = 0x1023, TILE_DATA = 18;
    if (syscall(SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA)) return errno;
#endif
    return 0;
}

extern "C" void mbrl_rollout(const Model *model, const Plan *plan) {
    // Blocks as even as can be: a vector alone costs nearly as much as some together.
    const int vectors = (plan->samples + L - 1) / L, blocks = (vectors + MOST - 1) / MOST;
    const bool alone = plan->coupling == NONE;
    std::vector<Job> jobs;
    for (int p = 0; p < (alone ? plan->particles : 1); ++p)
        for (int b = 0, v = 0; b < blocks; ++b) {
            const int size = vectors / blocks + (b < vectors % blocks), left = plan->samples - v * L;
            jobs.push_back({v * L, size, left < size * L ? left : size * L, p, alone ? 1 : plan->particles});
            v += size;
        }
    // A thread is worth starting for a quarter of a millisecond or so.
    constexpr double WORTH = 2e7;  // products of cells
    double products = 0;
    for (int k = 0; k < model->layer_count; ++k) products += (double)model->layers[k].cells * model->layers[k].neurons;
    products *= (double)plan->samples * plan->particles * plan->horizon;
    const double most = std::min({(double)plan->threads, (double)jobs.size(), products / WORTH});
    const int threads = plan->profile || most < 2 ? 1 : (int)most;
    std::atomic<int> next{0};
    // Threads of OpenMP, as torch's are: those wait for work in a loop, and would be in the way of others.
#pragma omp parallel num_threads(threads) if (threads > 1)
    work(*model, *plan, jobs, next);
}

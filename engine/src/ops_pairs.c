/* What is done to the elements of two values, of which one may repeat: add, sub, mul, div and the complex product. */
#include "ops.h"

/* The axes of a frame of the value, joined where both inputs go on alike, and what a step along each is in floats. */
typedef struct {
    uint32_t axes, length[SV_AXES];
    size_t a[SV_AXES], b[SV_AXES], a_frame, b_frame;
    int alike; /* neither repeats */
} walk;

static uint32_t axis_of(const sv_value *value, uint32_t axes, uint32_t axis) {
    uint32_t missing = axes - value->axes;
    return axis < missing ? 1 : value->shape[axis - missing];
}

/* The value's shape, and the walk over it in units of the last `inner` axes. */
static sv_status take_walk(sv_builder *builder, sv_task *task, uint32_t inner) {
    const sv_value *a = sv_input(builder, task, 0), *b = sv_input(builder, task, 1);
    const sv_value *more = a->axes >= b->axes ? a : b, *less = more == a ? b : a;
    uint32_t axes = more->axes, shape[SV_AXES];
    int a_alone = a->clock.source == SV_ALONE, b_alone = b->clock.source == SV_ALONE;
    walk *own = sv_take(builder->pool, 1, sizeof *own);
    if (!own)
        return sv_no_memory(builder);
    if (!sv_same_clock(a->clock, b->clock) && !a_alone && !b_alone)
        return sv_misfit(builder, task, "expected values with the same frames");
    if (less->axes < axes && less->clock.source != SV_ALONE)
        return sv_misfit(builder, task, "expected values of as many axes, got %u and %u", a->axes, b->axes);
    size_t a_step = 1, b_step = 1, a_steps[SV_AXES], b_steps[SV_AXES];
    for (uint32_t i = axes; i--; a_step *= axis_of(a, axes, i), b_step *= axis_of(b, axes, i)) {
        uint32_t of_a = axis_of(a, axes, i), of_b = axis_of(b, axes, i);
        if (of_a != of_b && of_a != 1 && of_b != 1)
            return sv_misfit(builder, task, "expected axes of the same length or of length 1, got %u and %u", of_a,
                             of_b);
        shape[i] = of_a == 1 ? of_b : of_a;
        a_steps[i] = of_a == 1 && shape[i] > 1 ? 0 : a_step;
        b_steps[i] = of_b == 1 && shape[i] > 1 ? 0 : b_step;
    }
    for (uint32_t i = 0; i + inner < axes; i++) {
        uint32_t last = own->axes - 1;
        int joins = own->axes && own->a[last] == a_steps[i] * shape[i] && own->b[last] == b_steps[i] * shape[i];
        if (!joins)
            last = own->axes++;
        own->length[last] = joins ? own->length[last] * shape[i] : shape[i];
        own->a[last] = a_steps[i];
        own->b[last] = b_steps[i];
    }
    if (!own->axes) { /* a frame of one element, or pair */
        own->axes = own->length[0] = 1;
        own->a[0] = own->b[0] = 1;
    }
    own->a_frame = a_alone ? 0 : a->size;
    own->b_frame = b_alone ? 0 : b->size;
    own->alike = sv_equal_shapes(a, b) && sv_same_clock(a->clock, b->clock);
    task->own = own;
    if (sv_shape(builder, task, axes, shape))
        return builder->failure->status;
    builder->plan->values[task->value].clock = a_alone ? b->clock : a->clock;
    return SV_OK;
}

/* One run along the last axis. */
typedef void along(const sv_task *task, const sv_work *work, const walk *own, float *y, const float *a, const float *b,
                   size_t count);

static float *over_axes(const sv_task *task, const sv_work *work, const walk *own, uint32_t axis, size_t unit,
                        along *run, float *y, const float *a, const float *b) {
    if (axis + 1 == own->axes) {
        run(task, work, own, y, a, b, own->length[axis]);
        return y + unit * own->length[axis];
    }
    for (uint32_t i = 0; i < own->length[axis]; i++)
        y = over_axes(task, work, own, axis + 1, unit, run, y, a + i * own->a[axis], b + i * own->b[axis]);
    return y;
}

static void over_frames(const sv_task *task, const sv_work *work, size_t unit, along *run) {
    const walk *own = task->own;
    const sv_value *value = &work->plan->values[task->value];
    const float *a = sv_data(work, task->inputs[0]), *b = sv_data(work, task->inputs[1]);
    float *y = sv_data(work, task->value);
    size_t frames = sv_frames(work, value->clock);
    if (own->alike) {
        run(task, work, own, y, a, b, frames * value->size / unit);
        return;
    }
    for (size_t t = 0; t < frames; t++)
        over_axes(task, work, own, 0, unit, run, y + t * value->size, a + t * own->a_frame, b + t * own->b_frame);
}

static void combine(const sv_task *task, const sv_work *work, const walk *own, float *y, const float *a, const float *b,
                    size_t count) {
    const sv_functions *f = work->plan->functions;
    size_t a_step = own->a[own->axes - 1], b_step = own->b[own->axes - 1];
    if (a_step && !b_step) {
        switch (task->node->op) {
        case SV_ADD:
            f->affine(y, a, 1, *b, count);
            return;
        case SV_SUB:
            f->affine(y, a, 1, -*b, count);
            return;
        case SV_MUL:
            f->affine(y, a, *b, 0, count);
            return;
        default:
            for (size_t i = 0; i < count; i++)
                y[i] = a[i] / *b;
            return;
        }
    }
    if (!a_step) {
        for (size_t i = 0; i < count; i++)
            switch (task->node->op) {
            case SV_ADD:
                y[i] = *a + b[i * b_step];
                break;
            case SV_SUB:
                y[i] = *a - b[i * b_step];
                break;
            case SV_MUL:
                y[i] = *a * b[i * b_step];
                break;
            default:
                y[i] = *a / b[i * b_step];
            }
        return;
    }
    switch (task->node->op) {
    case SV_ADD:
        f->add(y, a, b, count);
        break;
    case SV_SUB:
        f->sub(y, a, b, count);
        break;
    case SV_MUL:
        f->mul(y, a, b, count);
        break;
    default:
        f->div(y, a, b, count);
    }
}

static void run_binary(const sv_task *task, const sv_work *work) { over_frames(task, work, 1, combine); }

static void run_gate(const sv_task *task, const sv_work *work) {
    const sv_value *value = &work->plan->values[task->value];
    work->plan->functions->gate(sv_data(work, task->value), sv_data(work, task->inputs[0]),
                                sv_data(work, task->inputs[1]), sv_frames(work, value->clock) * value->size);
}

/* a sigmoid(b) at once, where nothing else reads the sigmoid. */
static sv_status take_gate(sv_builder *builder, sv_task *task, uint32_t gated) {
    sv_plan *plan = builder->plan;
    const sv_value *gate = sv_input(builder, task, !gated);
    uint32_t *inputs = sv_take(builder->pool, 2, sizeof *inputs);
    if (!inputs)
        return sv_no_memory(builder);
    inputs[0] = task->inputs[gated];
    inputs[1] = plan->tasks[gate->task].inputs[0];
    plan->tasks[gate->task].run = NULL;
    task->inputs = inputs;
    task->run = run_gate;
    return SV_OK;
}

static int is_sigmoid(const sv_builder *builder, const sv_task *task, uint32_t number) {
    const sv_value *value = sv_input(builder, task, number);
    const sv_plan *plan = builder->plan;
    return task->inputs[number] != plan->output && value->readers == 1 && value->task != SV_NONE
        && plan->tasks[value->task].node->op == SV_SIGMOID && plan->tasks[value->task].streamed == task->streamed;
}

sv_status sv_binary_task(sv_builder *builder, sv_task *task) {
    task->run = run_binary;
    if (take_walk(builder, task, 0))
        return builder->failure->status;
    const walk *own = task->own;
    if (!own->alike)
        return SV_OK;
    task->room = SV_IN_PLACE;
    for (uint32_t gated = 0; gated < 2 && task->node->op == SV_MUL; gated++)
        if (is_sigmoid(builder, task, !gated))
            return take_gate(builder, task, gated);
    return SV_OK;
}

static void multiply_complex(const sv_task *task, const sv_work *work, const walk *own, float *y, const float *a,
                             const float *b, size_t count) {
    (void)task;
    (void)work;
    size_t a_step = own->alike ? 2 : own->a[own->axes - 1], b_step = own->alike ? 2 : own->b[own->axes - 1];
    for (size_t i = 0; i < count; i++, a += a_step, b += b_step) {
        float re = a[0] * b[0] - a[1] * b[1], im = a[0] * b[1] + a[1] * b[0];
        y[2 * i] = re;
        y[2 * i + 1] = im;
    }
}

static void run_complex_mul(const sv_task *task, const sv_work *work) { over_frames(task, work, 2, multiply_complex); }

sv_status sv_complex_mul_task(sv_builder *builder, sv_task *task) {
    const sv_value *a = sv_input(builder, task, 0), *b = sv_input(builder, task, 1);
    task->run = run_complex_mul;
    if (!a->axes || !b->axes || a->shape[a->axes - 1] != 2 || b->shape[b->axes - 1] != 2)
        return sv_misfit(builder, task, "expected two values with a last axis of length 2");
    return take_walk(builder, task, 1);
}

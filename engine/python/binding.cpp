// The engine as Python sees it: sottovoce._engine. One class for a model, one for a session of it.
#include <cstring>
#include <memory>
#include <mutex>
#include <string>

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/unique_ptr.h>

#include "sottovoce.h"

namespace nb = nanobind;
using namespace nb::literals;

using Given = nb::ndarray<const float, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Made = nb::ndarray<nb::numpy, float, nb::ndim<1>>;
using Model = std::shared_ptr<sv_model>;

static const char *const PRECISIONS[] = {"int8", "int16", "float32"};
static const char *const INSTRUCTIONS[] = {"best", "portable", "avx2", "avx512", "neon"};

// The package's own errors; a text may name parts of a damaged file and so be no UTF-8.
[[noreturn]] static void raise(const char *type, const char *text) {
    nb::object error = nb::module_::import_("sottovoce.errors").attr(type);
    nb::object message = nb::steal(PyUnicode_DecodeUTF8(text, (Py_ssize_t)std::strlen(text), "replace"));
    PyErr_SetObject(error.ptr(), message.ptr());
    throw nb::python_error();
}

static void check(sv_status status, const char *text) {
    switch (status) {
    case SV_OK:
        return;
    case SV_BAD_FILE:
        raise("FormatError", text);
    case SV_UNSUPPORTED:
        raise("EngineError", text);
    default:
        raise("SottovoceError", text);
    }
}

template <size_t count> static int place(const char *const (&names)[count], const char *what, const char *name) {
    std::string known;
    for (size_t i = 0; i < count; i++) {
        if (!std::strcmp(names[i], name))
            return (int)i;
        known += (i ? ", " : "") + std::string(names[i]);
    }
    raise("SottovoceError", (std::string(what) + ": expected one of " + known + ", got " + name).c_str());
}

static Made array(size_t count, float *&values) {
    auto owned = std::make_unique<float[]>(count ? count : 1);
    values = owned.get();
    nb::capsule owner(owned.get(), [](void *held) noexcept { delete[] static_cast<float *>(held); });
    owned.release();
    return Made(values, {count}, owner);
}

// A session, in one thread at a time: a second one waits.
class Session {
  public:
    Session(Model model, const sv_limits &limits) : model(std::move(model)) {
        char text[SV_TEXT] = "";
        check(sv_start(&session, this->model.get(), &limits, text), text);
    }
    ~Session() { sv_end(&session); }
    Session(const Session &) = delete;

    void give(uint32_t condition, Given samples) {
        call([&] { return sv_give(session, condition, samples.data(), samples.size()); });
    }
    Made step(Given samples) {
        sv_info info = sv_query(model.get());
        size_t count = samples.size(), early = stepped ? 0 : info.delay;
        if (info.frames)
            count = count < early ? 0 : (count - early) / info.hop * info.frames * info.features;
        float *out;
        Made made = array(count, out);
        call([&] { return sv_step(session, samples.data(), out, samples.size()); });
        stepped = true;
        return made;
    }
    Made finish(Given samples) {
        float *out;
        Made made = array(sv_outputs(model.get(), samples.size() + (stepped ? sv_query(model.get()).delay : 0)), out);
        call([&] { return sv_finish(session, samples.data(), samples.size(), out); });
        stepped = false;
        return made;
    }
    Made run(Given samples) {
        float *out;
        Made made = array(sv_outputs(model.get(), samples.size()), out);
        call([&] { return sv_run(session, samples.data(), samples.size(), out); });
        stepped = false;
        return made;
    }
    void reset() {
        call([&] { return sv_reset(session); });
        stepped = false;
    }
    void close() {
        nb::gil_scoped_release release;
        std::lock_guard<std::mutex> alone(mutex);
        sv_end(&session);
    }

  private:
    [[noreturn]] static void closed() {
        raise("SottovoceError", "session: expected an open one, got one that was closed");
    }

    template <class Work> void call(Work work) {
        sv_status status = SV_OK;
        bool open;
        char text[SV_TEXT] = "";
        {
            nb::gil_scoped_release release;
            std::lock_guard<std::mutex> alone(mutex);
            open = session != nullptr;
            if (open && (status = work()) != SV_OK)
                std::strncpy(text, sv_error(session), SV_TEXT - 1);
        }
        if (!open)
            closed();
        check(status, text);
    }

    Model model;
    sv_session *session = nullptr;
    bool stepped = false; // since the state was fresh
    std::mutex mutex;
};

class Engine {
  public:
    Engine(nb::bytes data, const char *precision, const char *instructions) {
        sv_options options = {(sv_precision)place(PRECISIONS, "precision", precision),
                              (sv_instructions)place(INSTRUCTIONS, "instructions", instructions)};
        char text[SV_TEXT] = "";
        sv_model *opened = nullptr;
        sv_status status;
        {
            nb::gil_scoped_release release;
            status = sv_open(&opened, data.data(), data.size(), &options, text);
        }
        check(status, text);
        model = Model(opened, [](sv_model *held) { sv_close(&held); });
    }
    nb::dict query() const {
        sv_info info = sv_query(open());
        nb::dict told;
        told["sample_rate"] = info.sample_rate;
        told["hop"] = info.hop;
        told["delay"] = info.delay;
        told["conditions"] = info.conditions;
        told["features"] = info.features;
        told["causal"] = info.causal != 0;
        told["instructions"] = INSTRUCTIONS[info.instructions];
        told["weight_bytes"] = info.weight_bytes;
        return told;
    }
    std::unique_ptr<Session> start(size_t max_samples, size_t max_condition) const {
        open();
        return std::make_unique<Session>(model, sv_limits{max_samples, max_condition});
    }
    void close() { model.reset(); } // what was started from it goes on

  private:
    const sv_model *open() const {
        if (!model)
            raise("SottovoceError", "engine: expected an open one, got one that was closed");
        return model.get();
    }

    Model model;
};

NB_MODULE(_engine, m) {
    m.doc() = "The compiled engine: models from the bytes of .sotto files.";
    nb::class_<Session>(m, "EngineSession")
        .def("give", &Session::give, "condition"_a, "samples"_a.noconvert())
        .def("step", &Session::step, "samples"_a.noconvert())
        .def("finish", &Session::finish, "samples"_a.noconvert())
        .def("run", &Session::run, "samples"_a.noconvert())
        .def("reset", &Session::reset)
        .def("close", &Session::close);
    nb::class_<Engine>(m, "Engine")
        .def(nb::init<nb::bytes, const char *, const char *>(), "data"_a, "precision"_a = "int8",
             "instructions"_a = "best")
        .def("query", &Engine::query)
        .def("start", &Engine::start, "max_samples"_a = 0, "max_condition"_a = 0)
        .def("close", &Engine::close);
}

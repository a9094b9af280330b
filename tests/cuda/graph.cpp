// Captures and graphs. A capture keeps what each stream would do; its graph is an order in which that can be done.
#include <algorithm>

#include "driver.hpp"

using namespace standin;

namespace {

/// Brings captured commands into an order: those of a stream only when something waits for them, as outside of graphs.
class Order {
public:
  explicit Order(const Capture &capture) : capture(capture) {
    visit(capture.origin, length(capture.origin));
    for (auto &[stream, track] : capture.tracks)
      for (size_t i = done[stream.get()]; i < track.size(); ++i)
        need(!track[i].work, CUDA_ERROR_STREAM_CAPTURE_UNJOINED);
  }

  std::vector<Command> commands;

private:
  size_t length(const StreamPtr &stream) const {
    auto track = capture.tracks.find(stream);
    return track == capture.tracks.end() ? 0 : track->second.size();
  }

  void visit(const StreamPtr &stream, size_t position) {
    while (done[stream.get()] < position) {
      const Command &command = capture.tracks.at(stream)[done[stream.get()]++];
      if (command.wait)
        visit(command.wait->stream, command.wait->position);
      if (command.work)
        commands.push_back({nullptr, command.work, command.locked});
    }
  }

  const Capture &capture;
  std::map<CUstream_st *, size_t> done;
};

/// Ends the capture; what it holds is the caller's.
Capture end(const std::shared_ptr<Capture> &capture) {
  auto &captures = driver().captures;
  captures.erase(std::find(captures.begin(), captures.end(), capture));
  Capture taken = *capture;
  taken.origin->capture = nullptr;
  for (auto &[stream, track] : taken.tracks)
    stream->capture = nullptr;
  // Its events refer to it, and its tracks to the events.
  capture->tracks.clear();
  capture->ended = true;
  return taken;
}

/// Which captures mind the calls of this thread.
thread_local int interaction = CU_STREAM_CAPTURE_MODE_GLOBAL;

} // namespace

namespace standin {

void drop_captures(const CUctx_st &context) {
  for (auto &capture : std::vector<std::shared_ptr<Capture>>(driver().captures))
    if (capture->origin->context == &context)
      end(capture);
}

void need_no_capture(const StreamPtr &stream) {
  if (stream->capture) {
    stream->capture->invalid = true;
    throw Failure{CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED};
  }
  if (stream == stream->context->legacy)
    need_free_legacy(*stream->context);
}

void need_no_unsafe_capture() {
  bool found = false;
  for (auto &capture : driver().captures) {
    // Unless capture or caller is relaxed, a capture minds calls of its own thread; if both are global, of any.
    bool own = capture->thread == std::this_thread::get_id();
    int most = own ? CU_STREAM_CAPTURE_MODE_THREAD_LOCAL : CU_STREAM_CAPTURE_MODE_GLOBAL;
    if (capture->mode <= most && interaction <= most)
      found = capture->invalid = true;
  }
  need(!found, CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
}

void need_free_legacy(const CUctx_st &context) {
  for (auto &[handle, stream] : driver().streams) {
    if (stream->context == &context && stream->capture && !(stream->flags & CU_STREAM_NON_BLOCKING)) {
      stream->capture->invalid = true;
      throw Failure{CUDA_ERROR_STREAM_CAPTURE_IMPLICIT};
    }
  }
}

} // namespace standin

CUresult cuStreamBeginCapture_v2(CUstream handle, int mode) {
  return in_context(__func__, [&](CUctx_st &context) {
    StreamPtr stream = find_stream(&context, handle);
    need(mode >= CU_STREAM_CAPTURE_MODE_GLOBAL && mode <= CU_STREAM_CAPTURE_MODE_RELAXED);
    need(stream != context.legacy, CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
    need(!stream->capture, CUDA_ERROR_ILLEGAL_STATE);
    stream->capture = std::make_shared<Capture>(Capture{mode, std::this_thread::get_id(), stream});
    driver().captures.push_back(stream->capture);
  });
}

CUresult cuStreamEndCapture(CUstream handle, CUgraph *graph) {
  return in_context(__func__, [&](CUctx_st &context) {
    need(graph);
    *graph = nullptr;
    StreamPtr stream = find_stream(&context, handle);
    std::shared_ptr<Capture> capture = stream->capture;
    need(capture != nullptr, CUDA_ERROR_ILLEGAL_STATE);
    need(capture->origin == stream, CUDA_ERROR_STREAM_CAPTURE_UNMATCHED);
    need(capture->mode == CU_STREAM_CAPTURE_MODE_RELAXED || capture->thread == std::this_thread::get_id(),
         CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD);
    Capture taken = end(capture);
    need(!taken.invalid, CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
    *graph = driver().graphs.add(std::make_shared<CUgraph_st>(CUgraph_st{Order(taken).commands}));
  });
}

CUresult cuThreadExchangeStreamCaptureMode(int *mode) {
  return in_driver(__func__, [&] {
    need(mode && *mode >= CU_STREAM_CAPTURE_MODE_GLOBAL && *mode <= CU_STREAM_CAPTURE_MODE_RELAXED);
    std::swap(interaction, *mode);
  });
}

CUresult cuStreamIsCapturing(CUstream handle, int *status) {
  return in_context(__func__, [&](CUctx_st &context) {
    need(status);
    StreamPtr stream = find_stream(&context, handle);
    if (stream == context.legacy)
      need_free_legacy(context);
    *status = !stream->capture            ? CU_STREAM_CAPTURE_STATUS_NONE
              : !stream->capture->invalid ? CU_STREAM_CAPTURE_STATUS_ACTIVE
                                          : CU_STREAM_CAPTURE_STATUS_INVALIDATED;
  });
}

CUresult cuGraphInstantiateWithFlags(CUgraphExec *exec, CUgraph graph, unsigned long long) {
  return in_context(__func__, [&](CUctx_st &context) {
    need(exec);
    auto commands = std::make_shared<const std::vector<Command>>(driver().graphs.find(graph)->commands);
    *exec = driver().execs.add(std::make_shared<CUgraphExec_st>(CUgraphExec_st{&context, commands}));
  });
}

CUresult cuGraphLaunch(CUgraphExec exec, CUstream handle) {
  return in_context(__func__, [&](CUctx_st &context) {
    auto commands = driver().execs.find(exec)->commands;
    ++driver().graph_launches;
    submit_work(find_stream(&context, handle), true, [commands] {
      for (const Command &command : *commands)
        execute(command);
    });
  });
}

CUresult cuGraphUpload(CUgraphExec exec, CUstream handle) {
  return in_context(__func__, [&](CUctx_st &context) {
    driver().execs.find(exec);
    find_stream(&context, handle);
  });
}

CUresult cuGraphExecDestroy(CUgraphExec exec) {
  return in_context(__func__, [&](CUctx_st &) { driver().execs.remove(exec); });
}

CUresult cuGraphDestroy(CUgraph graph) {
  return in_context(__func__, [&](CUctx_st &) { driver().graphs.remove(graph); });
}

CUresult cuGraphGetNodes(CUgraph graph, CUgraphNode *nodes, size_t *count) {
  return in_context(__func__, [&](CUctx_st &) {
    need(count);
    auto &commands = driver().graphs.find(graph)->commands;
    size_t room = nodes ? *count : 0;
    *count = nodes ? std::min(room, commands.size()) : commands.size();
    for (size_t i = 0; i < room; ++i)
      nodes[i] = i < commands.size() ? (CUgraphNode)&commands[i] : nullptr;
  });
}

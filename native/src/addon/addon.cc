// The addon's table of contents.
#include <malloc.h>
#include <napi.h>

#include "addon/cached_file.h"
#include "addon/durable_file.h"
#include "addon/file_receiver.h"
#include "addon/file_sender.h"
#include "addon/folder.h"
#include "addon/hash.h"
#include "addon/layer_pack.h"
#include "addon/layer_unpack.h"
#include "addon/memory.h"
#include "addon/monitor_start.h"
#include "addon/overlay.h"
#include "addon/process_end.h"
#include "addon/range_lock.h"
#include "addon/rooted_file.h"
#include "addon/runtime_client.h"
#include "addon/socket_relay.h"
#include "addon/terminal.h"
#include "addon/tree_copy.h"
#include "addon/tree_removal.h"
#include "addon/verified_mark.h"

namespace {

Napi::Object Init(Napi::Env env, Napi::Object exports) {
  // Buffers are allocated by one thread and freed by another: with an arena each, the allocator would keep much of
  // them.
  ::mallopt(M_ARENA_MAX, 1);
  InitCachedFile(env, exports);
  InitDurableFile(env, exports);
  InitFileReceiver(env, exports);
  InitFileSender(env, exports);
  InitFolder(env, exports);
  InitHash(env, exports);
  InitLayerPack(env, exports);
  InitLayerUnpack(env, exports);
  InitMemory(env, exports);
  InitMonitorStart(env, exports);
  InitOverlay(env, exports);
  InitRangeLock(env, exports);
  InitRootedFile(env, exports);
  InitRuntimeClient(env, exports);
  InitSocketRelay(env, exports);
  InitTerminal(env, exports);
  InitTreeCopy(env, exports);
  InitTreeRemoval(env, exports);
  InitProcessEnd(env, exports);
  InitVerifiedMark(env, exports);
  return exports;
}

}  // namespace

NODE_API_MODULE(gantry, Init)
